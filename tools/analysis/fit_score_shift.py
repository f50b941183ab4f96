"""Shift the scores of a trained YOLOv8 or YOLO11 by the size of the predicted box.

    python tools/analysis/fit_score_shift.py CONFIG CHECKPOINT --out shifted.pth

Runs the network on its training set, or on the validation set with `--on val`, fits
the shift with which a score means the same precision at all sizes, and writes the
checkpoint with it. It stays 0 where the AP of images that it was not fitted on does not
gain more than its standard error. No weight changes. How: mmareaaware/analysis/
score_shift_fit.py.
"""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Column, Table

from mmareaaware.analysis.score_shift_files import prepare, with_shift
from mmareaaware.analysis.score_shift_fit import (
    FittedShift,
    ScoreShiftError,
    fit_score_shift,
)
from mmareaaware.conversion.checkpoint import read_checkpoint
from mmareaaware.engine.launch import config_or_exit
from mmareaaware.whole_file import whole_file

MIN_BOXES = 20  # a class with fewer is left out of the AP


def print_tables(fitted: FittedShift, console: Console) -> None:
    by_size = right_aligned("side in px", "true detections", "shift of the logit")
    for row in zip(fitted.sides, fitted.boxes, fitted.shifts, strict=True):
        by_size.add_row(f"{row[0]:g}", str(row[1]), f"{row[2]:+.2f}")
    console.print(by_size)
    by_strength = right_aligned("strength", "AP", "AP small")
    for strength, *values in fitted.results:
        by_strength.add_row(f"{strength:g}", *(f"{100 * v:.2f}" for v in values))
    console.print("\nimages that the shift was not fitted on, in folds")
    console.print(by_strength)
    console.print(
        f"AP {100 * fitted.gain:+.2f} ± {100 * fitted.error:.2f} at strength "
        f"{fitted.best.strength:g}: "
        + ("the shift is kept" if fitted.shifts.any() else "the shift stays 0")
    )


def right_aligned(*names: str) -> Table:
    return Table(*(Column(name, justify="right") for name in names))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint")
    parser.add_argument("--on", choices=["train", "val"], default="train")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    return parser.parse_args()


def fit(cfg: Config) -> FittedShift:
    """Run the network on what the config tests, and fit."""
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    shift = runner.model.bbox_head.score_shift
    shift.shifts.zero_()
    runner.test()
    (metric,) = runner.test_evaluator.metrics
    return fit_score_shift(metric.found, shift.sides.cpu().numpy(), MIN_BOXES)


def main() -> None:
    args = parse_args()
    cfg = config_or_exit(args.config, args.cfg_options)
    try:
        checkpoint = read_checkpoint(args.checkpoint)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    cfg.load_from = str(args.checkpoint)
    cfg.work_dir = str(args.out.with_suffix("")) + "_log"
    prepare(cfg, args.on)
    fitted = fit(cfg)
    print_tables(fitted, Console(width=max(100, Console().width)))
    with whole_file(args.out) as partial:
        torch.save(with_shift(checkpoint, fitted), partial)
    print(
        f"{args.out}: needs model.bbox_head.score_shift="
        f"{dict(cfg.model.bbox_head.score_shift)} in the config"
    )


if __name__ == "__main__":
    try:
        main()
    except ScoreShiftError as error:
        raise SystemExit(f"error: {error}") from None
