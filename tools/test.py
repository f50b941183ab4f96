"""Test a detector: python tools/test.py CONFIG CHECKPOINT [options]."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmareaaware.engine.launch import use_gloo_without_gpu


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Test a detector")
    parser.add_argument("config", help="test config file path")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="the dir to save logs and metrics")
    parser.add_argument("--out", help="dump predictions to this .pkl file")
    parser.add_argument(
        "--json-prefix", help="write COCO results to this path without extension"
    )
    parser.add_argument("--show-dir", help="save pictures of the predictions here")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="override settings of the config, key=value; lists as key=[a,b]",
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = (
        args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
    )
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
    use_gloo_without_gpu(cfg)
    Runner.from_cfg(cfg).test()


if __name__ == "__main__":
    main()
