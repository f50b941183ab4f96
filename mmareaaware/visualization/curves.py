"""The curves of runs, from the JSON logs of MMEngine."""

import json
import re
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .boxes import COLOURS

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


def draw_curves(runs: dict[str, tuple[Curves, Curves]], smooth: int = 1) -> Figure:
    """Draw the curves of runs, a panel for each scalar.

    Args:
        runs: By label, the scalars that ``read_run`` returns.
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
