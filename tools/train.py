"""Trains a detector.

    python tools/train.py configs/demo/yolov8_n_baseline_1xb4-6e_digits.py
    python tools/train.py CONFIG --bg-penalty --amp --resume --work-dir work_dirs/mine

Logs, checkpoints and the config as it was used go into the work dir. The same command
with --resume goes on where a training was stopped.
"""

import argparse

from mmareaaware.config_file import ConfigFileError, check_start
from mmareaaware.engine.launch import build_runner, parse_args
from mmareaaware.engine.resuming import newest_checkpoint
from mmareaaware.model_config import type_name
from mmareaaware.switching import add_switches, apply_switches


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="train config file path")
    parser.add_argument(
        "--amp", action="store_true", help="enable automatic mixed precision"
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by the batch size of all processes",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="resume from this checkpoint; without a path, from the newest in the "
        "work dir, if there is one",
    )
    add_switches(parser)
    args, cfg = parse_args(parser)
    apply_switches(cfg, args)
    if args.amp:
        name = type_name(cfg.optim_wrapper)
        if name not in ("OptimWrapper", "AmpOptimWrapper"):
            raise SystemExit(
                f"error: --amp needs optim_wrapper.type='OptimWrapper', got {name!r}"
            )
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.auto_scale_lr:
        if not (cfg.get("auto_scale_lr") or {}).get("base_batch_size"):
            raise SystemExit(
                "error: --auto-scale-lr needs the batch size that the learning rate of "
                "the config is for: auto_scale_lr=dict(base_batch_size=16)"
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == "auto":
        checkpoint = newest_checkpoint(cfg.work_dir)
    else:
        checkpoint = args.resume
    if checkpoint:  # else the config's load_from, if any, is where it starts
        cfg.resume = True
        cfg.load_from = checkpoint
    try:
        check_start(cfg)
    except ConfigFileError as error:
        raise SystemExit(f"error: {error}") from None
    build_runner(cfg).train()


if __name__ == "__main__":
    main()
