"""Test a detector: python tools/test.py CONFIG CHECKPOINT [options]."""

import argparse

from mmengine.runner import Runner

from mmareaaware.engine.launch import parse_args


def main() -> None:
    parser = argparse.ArgumentParser(description="Test a detector")
    parser.add_argument("config", help="test config file path")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", help="dump predictions to this .pkl file")
    parser.add_argument(
        "--json-prefix", help="write COCO results to this path without extension"
    )
    parser.add_argument(
        "--show-dir", help="save pictures of the predictions to this folder of the run"
    )
    args, cfg = parse_args(parser)
    cfg.load_from = args.checkpoint
    evaluators = cfg.test_evaluator
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    if args.json_prefix:
        for evaluator in evaluators:
            if evaluator.type.endswith("CocoMetric"):
                evaluator.outfile_prefix = args.json_prefix
    if args.out:
        evaluators.append(dict(type="mmdet.DumpDetResults", out_file_path=args.out))
    cfg.test_evaluator = evaluators
    if args.show_dir:
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=args.show_dir)
    Runner.from_cfg(cfg).test()


if __name__ == "__main__":
    main()
