"""Tables and a plot of the finished runs of a grid."""

import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt

from ..whole_file import whole_file, write_whole
from .answer import find_answer
from .grid import Grid, Metric
from .paired import Cell, Sample, compare
from .record import read_results
from .wording import BEST, answer_in_words, noise_in_words

Table = dict[Metric, dict[str, Cell]]  # cells by metric and setting
COLUMNS = 3  # of panels in the plot
ARROWS = dict(higher="↑", lower="↓")
BETTER, WORSE, UNCLEAR = "tab:blue", "tab:red", "dimgrey"
CSV_HEADER = (
    *("setting", "metric", "num_seeds", "mean", "sd"),
    *("num_pairs", "difference", "interval_low", "interval_high"),
)


def write_report(grid: Grid, out: Path) -> None:
    """Write ``results.json``, ``table.md``, ``table.csv`` and ``differences.png``.

    Where the grid has goals, also ``answer.md`` and, where a setting is better than the
    baseline, its config ``best.py``.

    Args:
        grid: The grid.
        out: Folder of its runs, of which the finished ones count.

    Raises:
        FileNotFoundError: None is finished.
    """
    results = read_results(grid, out)
    if not results["runs"]:
        raise FileNotFoundError(f"no run of {grid.path} is finished in {out}")
    write_whole(out / "results.json", json.dumps(results, indent=1) + "\n")
    table = tabulate(grid, results["runs"])
    write_whole(out / "table.md", markdown(grid, results, table))
    with (
        whole_file(out / "table.csv") as partial,
        partial.open("w", newline="") as file,
    ):
        csv.writer(file).writerows(csv_rows(table))
    compared = _compared(table)
    if compared:
        draw(grid, compared, out / "differences.png")
    if any(metric.goal for metric in grid.metrics):
        _write_answer(grid, out, results["runs"])


def _write_answer(grid: Grid, out: Path, runs: list[dict]) -> None:
    answer = find_answer(runs, grid.metrics, grid.baseline)
    lines = answer_in_words(answer, grid.baseline)
    write_whole(out / "answer.md", "\n".join([*lines, ""]))
    (out / BEST).unlink(missing_ok=True)  # of an earlier report
    if answer is not None and answer.better:
        write_whole(out / BEST, grid.config_text(answer.better[0], folder=out))


def tabulate(grid: Grid, runs: list[dict]) -> Table:
    """The cells of all metrics that some run has."""
    table = {}
    for metric in grid.metrics:
        cells = compare(runs, metric.key, grid.baseline, metric.scale)
        if any(cell.sample.values for cell in cells.values()):
            table[metric] = cells
    return table


def _compared(table: Table) -> Table:
    """The metrics that some run has and the baseline of its seed too."""
    return {
        metric: cells
        for metric, cells in table.items()
        if any(cell.difference.values for cell in cells.values())
    }


def markdown(grid: Grid, results: dict, table: Table) -> str:
    """Two tables: each setting by itself, and against the baseline."""
    compared = _compared(table)
    seconds = {}
    for run in results["runs"]:
        seconds.setdefault(run["setting"], []).append(run["train_seconds"])
    alone, against = [], []
    for setting in seconds:
        number = len(seconds[setting])
        minutes = f"{sum(seconds[setting]) / number / 60:.0f}"
        cells = [by_setting[setting] for by_setting in table.values()]
        shown = [_mean_and_sd(cell.sample, number) for cell in cells]
        alone.append([setting, str(number), *shown, minutes])
        if setting != grid.baseline:
            cells = [by_setting[setting] for by_setting in compared.values()]
            shown = [_difference(cell.difference, number) for cell in cells]
            against.append([setting, *shown])
    first, *others = results["environments"]
    lines = [
        f"# {grid.path.stem}",
        "",
        f"`{results['command']}`",
        "",
        ", ".join(f"{key} {value}" for key, value in first.items())
        + (f"; {len(others)} more in results.json" if others else ""),
        "",
    ]
    absent = [metric.name for metric in grid.metrics if metric not in table]
    if absent:
        lines += [f"No run has: {', '.join(absent)}.", ""]
    if grid.caption:
        lines += [grid.caption, ""]
    noise = noise_in_words(table, grid.baseline)
    lines += [noise, "", "Mean ± standard deviation over the seeds:", ""]
    lines += _rows(["setting", "seeds", *_headers(table), "training, min"], alone)
    if compared:
        number = sum(text.count("[") for row in against for text in row)
        lines += [
            "",
            noise,
            "",
            f"Difference to `{grid.baseline}` of the same seed, with its 95 % "
            "confidence interval (Student's t over the seeds). Bold: 0 is outside; of "
            f"{number} intervals, that is to be expected of {number / 20:.0f} by "
            "chance.",
            "",
            *_rows(["setting", *_headers(compared)], against),
            "",
            "![differences to the baseline](differences.png)",
        ]
    return "\n".join([*lines, ""])


def _headers(table: Table) -> list[str]:
    return [f"{metric.name} {ARROWS[metric.better]}" for metric in table]


def _rows(header: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def _mean_and_sd(sample: Sample, num_runs: int) -> str:
    if not sample.values:
        return "–"
    text = f"{sample.mean:.2f}"
    if len(sample.values) > 1:
        text += f" ± {sample.sd:.2f}"
    return text + _fewer(sample, num_runs)


def _difference(sample: Sample, num_runs: int) -> str:
    if not sample.values:
        return "–"
    text = f"{sample.mean:+.2f}"
    if len(sample.values) > 1:
        text += " [{:+.2f}, {:+.2f}]".format(*sample.interval)
    if sample.excludes_zero:
        text = f"**{text}**"
    return text + _fewer(sample, num_runs)


def _fewer(sample: Sample, num_runs: int) -> str:
    """How many numbers there are, where it is not one from each run."""
    number = len(sample.values)
    return f" (n = {number})" if number < num_runs else ""


def csv_rows(table: Table) -> list[tuple]:
    """A line for each setting and metric, not rounded; empty where there is none."""
    rows = [CSV_HEADER]
    for metric, cells in table.items():
        for setting, cell in cells.items():
            difference = cell.difference
            numbers = (
                *(len(cell.sample.values), cell.sample.mean, cell.sample.sd),
                *(len(difference.values), difference.mean, *difference.interval),
            )
            shown = ("" if number != number else number for number in numbers)
            rows.append((setting, metric.key, *shown))
    return rows


def draw(grid: Grid, table: Table, path: Path) -> None:
    """A panel for each metric: differences to the baseline and their intervals."""
    settings = [name for name in next(iter(table.values())) if name != grid.baseline]
    columns = min(COLUMNS, len(table))
    rows = -(-len(table) // columns)
    width = max(8, 1.5 + 3.5 * columns)  # that of the title at least
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width, 0.7 + rows * (1 + 0.28 * len(settings))),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[len(table) :]:
        axis.set_axis_off()
    for axis, (metric, cells) in zip(axes.flat, table.items(), strict=False):
        axis.axvline(0, color="black", linewidth=0.8)
        for y, setting in enumerate(settings):
            _draw_difference(axis, y, cells[setting].difference, metric)
        title = f"{metric.name} {ARROWS[metric.better]}"
        if grid.baseline in cells:
            title += f"\n{grid.baseline} {cells[grid.baseline].sample.mean:.2f}"
        axis.set_title(title, fontsize=9)
        axis.set_yticks(range(len(settings)), settings)
        axis.locator_params(axis="x", nbins=6)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].set_ylim(len(settings) - 0.5, -0.5)  # shared by all
    figure.suptitle(
        f"difference to {grid.baseline} of the same seed: each seed, mean and 95 % "
        "confidence interval\n(blue: better, red: worse, grey: 0 is inside)",
        fontsize=11,
    )
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)
    plt.close(figure)


def _draw_difference(axis, y: int, difference: Sample, metric: Metric) -> None:
    if not difference.values:
        return
    colour = UNCLEAR
    if difference.excludes_zero:
        is_better = (difference.mean > 0) == (metric.better == "higher")
        colour = BETTER if is_better else WORSE
    if len(difference.values) > 1:
        axis.plot(difference.interval, (y, y), color=colour, linewidth=2)
        axis.plot(difference.mean, y, "|", color=colour, markersize=13, mew=3)
    values = list(difference.values.values())
    axis.plot(
        values,
        [y] * len(values),
        "o",
        markerfacecolor="white",
        markeredgecolor="black",
        markersize=3.5,
    )
