"""Train a detector: python tools/train.py CONFIG [options]."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmareaaware.engine.launch import use_gloo_without_gpu


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a detector")
    parser.add_argument("config", help="train config file path")
    parser.add_argument("--work-dir", help="the dir to save logs and models")
    parser.add_argument(
        "--amp", action="store_true", help="enable automatic mixed precision"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="resume from this checkpoint; without a path, from the newest in the "
        "work dir",
    )
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
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
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
    if args.amp:
        if cfg.optim_wrapper.type not in ("OptimWrapper", "AmpOptimWrapper"):
            raise SystemExit(
                "--amp needs optim_wrapper.type='OptimWrapper', got "
                f"{cfg.optim_wrapper.type!r}"
            )
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    use_gloo_without_gpu(cfg)
    Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
