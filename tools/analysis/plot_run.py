"""The curves of one or several runs as one picture.

    python tools/analysis/plot_run.py work_dirs/baseline work_dirs/area-aware

Reads the JSON logs of any MMEngine run (`WORK_DIR/<timestamp>/vis_data/scalars.json`).
There is a panel for each loss, the penalty before λ_bg, the accuracy of two-stage
detectors, what DetectionMonitorHook logs, λ_bg and the learning rate; and from the
validations for each AP, and for the background false positives at a recall. What no run
has is left out.

Everything is drawn over iterations. The log gives a validation an epoch for its step,
in iteration-based runs always 0, so it is drawn at the last logged iteration before it.
A resumed run replaces what earlier logs say from its first iteration on.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from mmareaaware.visualization.curves import draw_curves, read_run
from mmareaaware.whole_file import whole_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dir", type=Path, nargs="+")
    parser.add_argument(
        "--labels", nargs="+", help="of the runs, by default the names of the folders"
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/curves.png"))
    parser.add_argument(
        "--smooth", type=int, default=1, help="average so many logged values"
    )
    args = parser.parse_args()
    args.labels = args.labels or [path.resolve().name for path in args.work_dir]
    if not len(set(args.labels)) == len(args.labels) == len(args.work_dir):
        parser.error(
            f"--labels must be {len(args.work_dir)} different names, got {args.labels}"
        )
    if args.smooth < 1:
        parser.error(f"--smooth must be at least 1, got {args.smooth}")
    return args


def main() -> None:
    args = parse_args()
    try:
        runs = [read_run(path) for path in args.work_dir]
    except FileNotFoundError as error:
        raise SystemExit(f"error: {error}") from None
    figure = draw_curves(dict(zip(args.labels, runs, strict=True)), args.smooth)
    with whole_file(args.out) as partial:
        figure.savefig(partial, dpi=110)
    print(f"picture: {args.out}")


if __name__ == "__main__":
    main()
