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
import json
import re
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmareaaware.visualization import COLOURS

# Names of the scalars that have a panel, in the order of the panels.
NOISY = (
    r"loss",
    r"(^|/)bg_penalty_mean$",
    r"(^|[./])acc$",
    r"(^|/)detections_",
    r"(^|/)[fb]g_score$",
)
SCHEDULES = (r"(^|/)lambda_bg$", r"(^|/)lr$")
VALIDATION = (r"(^|[/_])m?AP\d*(_|$)", r"bg_fp_per_image_recall")
NUM_COLUMNS = 4
LEGEND_WIDTH = 150  # in letters
# Of the runs; yellow is too pale for a line on white. Then again, dashed and dotted.
COLOURS_OF_RUNS = [
    COLOURS[name]
    for name in ("blue", "vermillion", "green", "purple", "sky_blue", "black", "orange")
]
STYLES = list(product(("-", "--", ":"), COLOURS_OF_RUNS))

Curves = dict[str, np.ndarray]  # name of a scalar: (2, n), iterations and values


def read_run(work_dir: Path) -> tuple[Curves, Curves]:
    """The scalars of a run, from all its logs.

    Args:
        work_dir: Of the training.

    Returns:
        The scalars of the training, and those of the validations.

    Raises:
        FileNotFoundError: There is no log of a training.
    """
    lines = []  # (iteration, scalars)
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        log = list(_read_lines(path))
        start = next((line["iter"] for line in log if "iter" in line), None)
        if start is None:
            continue  # a validation without training
        lines = [line for line in lines if line[0] < start]
        iteration = start
        for scalars in log:
            iteration = scalars.get("iter", iteration)
            lines.append((iteration, scalars))
    if not lines:
        raise FileNotFoundError(
            f"{work_dir} has no log of a training: <timestamp>/vis_data/scalars.json"
        )
    training = [line for line in lines if "iter" in line[1]]
    validation = [line for line in lines if "iter" not in line[1]]
    return _curves(training), _curves(validation)


def _read_lines(path: Path) -> Iterator[dict]:
    """The lines of a log, up to one that was cut off: its run was killed."""
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _curves(lines: list[tuple[int, dict]]) -> Curves:
    points = {}
    for iteration, scalars in lines:
        for name, value in scalars.items():
            if isinstance(value, float | int):
                # mmdet writes -1 where there is no box of a size.
                value = np.nan if value == -1 else value
                points.setdefault(name, []).append((iteration, value))
    return {name: np.array(values, float).T for name, values in points.items()}


def select(runs: list[Curves], patterns: tuple[str, ...]) -> list[str]:
    """Names that match, sorted by pattern, of scalars that are numbers in some run."""
    names = [
        name
        for curves in runs
        for name, (_, values) in curves.items()
        if np.isfinite(values).any()
    ]
    found = [name for p in patterns for name in names if re.search(p, name)]
    return list(dict.fromkeys(found))


def smoothed(values: np.ndarray, length: int) -> np.ndarray:
    """The mean of each value and the up to ``length - 1`` values before it."""
    sums = np.convolve(values, np.ones(length))[: len(values)]
    return sums / np.minimum(np.arange(len(values)) + 1, length)


def draw(runs: dict[str, tuple[Curves, Curves]], smooth: int = 1) -> Figure:
    """Draw the curves of runs, a panel for each scalar.

    Args:
        runs: By label, the scalars that :func:`read_run` returns.
        smooth: So many logged values are averaged; schedules and validations are not.

    Returns:
        The picture.
    """
    training, validation = zip(*runs.values(), strict=True)
    noisy = select(training, NOISY)
    above = noisy + select(training, SCHEDULES)
    below = select(validation, VALIDATION)  # in rows of their own
    rows = [-(-len(names) // NUM_COLUMNS) for names in (above, below)]
    figure, axes = plt.subplots(
        sum(rows),
        NUM_COLUMNS,
        figsize=(3.4 * NUM_COLUMNS, 2.3 * sum(rows) + 0.8),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    end = max(run["iter"][0, -1] for run in training)
    for curves, names, panels, marker in (
        (training, above, axes[: rows[0]], ""),
        (validation, below, axes[rows[0] :], "o"),
    ):
        for axis, name in zip(panels.flat, names, strict=False):
            axis.set_axis_on()
            axis.set_title(name, fontsize=10)
            axis.grid(alpha=0.3)
            # One scale of iterations, and values from 0; accuracy is near 100 %.
            axis.update_datalim([(0, 0), (end, 0)], updatey="acc" not in name)
            for run, (line, colour) in zip(curves, cycle(STYLES), strict=False):
                if name in run:
                    x, y = run[name]
                    y = smoothed(y, smooth) if name in noisy else y
                    axis.plot(x, y, line, color=colour, marker=marker, markersize=3)
    handles = [
        Line2D([], [], linestyle=line, color=colour, label=label)
        for label, (line, colour) in zip(runs, cycle(STYLES), strict=False)
    ]
    columns = max(1, LEGEND_WIDTH // (max(map(len, runs)) + 8))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
    figure.supxlabel("iteration")
    return figure


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
    figure = draw(dict(zip(args.labels, runs, strict=True)), args.smooth)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=110)
    print(f"picture: {args.out}")


if __name__ == "__main__":
    main()
