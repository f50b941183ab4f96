"""Train a detector: python tools/train.py CONFIG [options]."""

import argparse

from mmengine.runner import Runner

from mmareaaware.engine.launch import parse_args


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a detector")
    parser.add_argument("config", help="train config file path")
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
    args, cfg = parse_args(parser)
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
    Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
