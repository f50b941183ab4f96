"""Tests a detector.

    python tools/test.py CONFIG work_dirs/mine/epoch_12.pth --out predictions.pkl

The metrics are those of the config's test_evaluator, and go into the log. With
--box-voting any detector with one stage and NMS, however it was trained, votes on its
boxes (docs/switch_on.md).
"""

import argparse

from mmengine.config import Config, ConfigDict

from mmareaaware.config_file import ConfigFileError, check_annotations
from mmareaaware.engine.launch import build_runner, parse_args
from mmareaaware.model_config import type_name
from mmareaaware.switching import add_test_switches, apply_switches


def augment(cfg: Config) -> None:
    """Test on several versions of each image, with the config's ``tta_pipeline``."""
    for key in ("tta_model", "tta_pipeline"):
        if key not in cfg:
            raise SystemExit(
                f"error: --tta needs {key} in the config, as MMYOLO's recipes and "
                "mmdet's rtmdet_tta.py have it"
            )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset = cfg.test_dataloader.dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    if "batch_shapes_cfg" in dataset:
        dataset.batch_shapes_cfg = None  # it would set the size of the input
    dataset.pipeline = cfg.tta_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="test config file path")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", help="dump predictions to this .pkl file")
    parser.add_argument(
        "--json-prefix", help="write COCO results to this path without extension"
    )
    parser.add_argument(
        "--show-dir", help="save pictures of the predictions to this folder of the run"
    )
    parser.add_argument(
        "--tta", action="store_true", help="test-time augmentation, as in the config"
    )
    add_test_switches(parser)
    args, cfg = parse_args(parser)
    apply_switches(cfg, args)
    cfg.load_from = args.checkpoint
    if args.tta:
        augment(cfg)
    try:
        check_annotations(cfg, "test_dataloader", "test_evaluator")
    except ConfigFileError as error:
        raise SystemExit(f"error: {error}") from None
    evaluators = cfg.test_evaluator
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    if args.json_prefix:
        for evaluator in evaluators:
            if type_name(evaluator).endswith("CocoMetric"):
                evaluator.outfile_prefix = args.json_prefix
    if args.out:
        evaluators.append(dict(type="mmdet.DumpDetResults", out_file_path=args.out))
    cfg.test_evaluator = evaluators
    if args.show_dir:
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=args.show_dir)
    build_runner(cfg).test()


if __name__ == "__main__":
    main()
