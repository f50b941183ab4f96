"""Trains and compares settings, each from several seeds, and says which to take.

    python tools/ablation.py --config CONFIG --checkpoint X.pth --out work_dirs/mine
    python tools/ablation.py configs/_grids_/area_aware_digits.py --out work_dirs/digits

The settings are what can be switched on in a config (docs/switch_on.md), or those of a
grid.

Every run has a folder `<out>/<setting>/seed<k>` with its config, log, checkpoints and,
in the end, metrics.json. The same command again goes on where it stopped: finished runs
are skipped, interrupted ones resume. After every run, and with --report-only at any
time, `<out>` gets results.json, table.md, table.csv and differences.png, and where the
grid has goals answer.md, and best.py if a setting is better than the config as it is.
"""

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmareaaware.ablation import Grid, Run, restore_runs, write_grid, write_report
from mmareaaware.ablation.training import locked, prepare, train_all

SEEDS = (0, 1, 2, 3, 4)  # fewer see only what is large


@contextmanager
def plain_errors():
    """What is wrong with a grid or its runs, without a traceback."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error


def grid_of(args: argparse.Namespace) -> Path:
    """Write the grid of a config, and say what cannot be in it."""
    grid, refused = write_grid(
        args.config, args.out, args.seeds or SEEDS, args.checkpoint, args.cfg_options
    )
    for setting, reason in refused.items():
        print(f"without {setting}: {reason}")
    return grid


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "grid", nargs="?", help="file in configs/_grids_, or one like them"
    )
    parser.add_argument(
        "--config", type=Path, help="in place of a grid: of a detector, on your data"
    )
    parser.add_argument("--checkpoint", help="with --config: where trainings start")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="with --config: override its settings, key=value",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument(
        "--record",
        type=Path,
        help="results.json of the same grid from elsewhere: its runs count as finished",
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the grid's")
    parser.add_argument("--settings", nargs="+", help="only these of the grid")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time, each with its share of the cores (or OMP_NUM_THREADS)",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="train nothing; tables and plot"
    )
    args = parser.parse_args()
    if (args.grid is None) == (args.config is None):
        parser.error("give a grid, or --config")
    if args.grid and (args.checkpoint or args.cfg_options):
        parser.error("--checkpoint and --cfg-options go with --config")
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    return args


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel("WARNING")  # else a line for each config
    with plain_errors():
        if args.config:
            args.grid = grid_of(args)
        grid = Grid(args.grid)
        settings = args.settings or list(grid.settings)
        grid.check_names(settings)
        if args.record:
            restore_runs(grid, args.out, args.record)
        if args.report_only:
            write_report(grid, args.out)
            return
    # Seed by seed: when it is cut short, what there is can be compared
    runs = [
        Run(grid, setting, seed, args.out)
        for seed in dict.fromkeys(args.seeds or grid.seeds)
        for setting in dict.fromkeys(settings)
    ]
    with locked(args.out) as lock_file:
        with plain_errors():
            todo = prepare(grid, runs)
        print(f"{len(runs)} runs, {len(runs) - len(todo)} of them finished before")
        failures = train_all(grid, args.out, todo, args.jobs, lock_file)
    if failures < len(runs):
        write_report(grid, args.out)
        print(f"tables and plot: {args.out}/table.md")
        if (args.out / "answer.md").exists():
            print((args.out / "answer.md").read_text())
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
