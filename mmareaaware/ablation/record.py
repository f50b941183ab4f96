"""All that the finished runs of a grid left, as one record, and back."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

from ..environment import VARIABLES, environment
from ..whole_file import write_whole
from .grid import Grid
from .run import Run


def read_results(grid: Grid, out: Path) -> dict:
    """Everything that the finished runs left, with what it takes to repeat them."""
    environments, runs = [], []
    for setting in grid.settings:
        for path in sorted(out.glob(f"{setting}/seed*/metrics.json")):
            content = json.loads(path.read_text())
            environment = content.pop("environment")
            if environment not in environments:
                environments.append(environment)
            runs.append(
                dict(
                    setting=setting,
                    seed=int(path.parent.name.removeprefix("seed")),
                    environment=environments.index(environment),
                    **content,
                )
            )
    runs.sort(key=lambda run: (list(grid.settings).index(run["setting"]), run["seed"]))
    seeds = sorted({run["seed"] for run in runs})
    command = ["python", "tools/ablation.py", _shown(grid.path), "--out", _shown(out)]
    command += ["--seeds", *map(str, seeds)]
    settings = list(dict.fromkeys(run["setting"] for run in runs))
    if settings != list(grid.settings):
        command += ["--settings", *settings]
    folder = dict(data_root="…/")  # of what a path was
    variables = {
        f"{variable}={folder.get(key, '')}{e[key]}": None
        for key, variable in VARIABLES.items()
        for e in environments
        if key in e
    }
    return dict(
        command=" ".join([*variables, shlex.join(command)]),
        grid=_shown(grid.path),
        base=_shown(grid.base_of(grid.baseline)),
        baseline=grid.baseline,
        seeds=seeds,
        metrics=[asdict(metric) for metric in grid.metrics],
        environments=environments,
        runs=runs,
    )


def restore_runs(grid: Grid, out: Path, record: Path) -> None:
    """Let the runs of a record count as finished: a comparison that goes on elsewhere.

    Runs that the folder has stay as they are.

    Args:
        grid: The grid.
        out: Folder of its runs.
        record: The ``results.json`` of the same grid from another folder.

    Raises:
        FileNotFoundError: There is no such record.
        ValueError: It is of another grid, other data or another precision, or has a
            setting that the grid has not.
    """
    results = json.loads(record.read_text())
    if results["grid"] != _shown(grid.path):
        raise ValueError(
            f"{record} is of {results['grid']}, and this is {_shown(grid.path)}: "
            "start that grid, or give a record of this one"
        )
    now = environment()
    for noted in results["environments"]:
        for key, variable in VARIABLES.items():
            if noted.get(key) != now.get(key):
                raise ValueError(
                    f"{record} is of {key}={noted.get(key)!r}, and {variable} now "
                    f"names {now.get(key)!r}: set it to what it was for the record"
                )
    grid.check_names([run["setting"] for run in results["runs"]])
    for entry in results["runs"]:
        run = Run(grid, entry.pop("setting"), entry.pop("seed"), out)
        noted = results["environments"][entry.pop("environment")]
        if not run.metrics.exists():
            content = dict(**entry, environment=noted)
            write_whole(run.metrics, json.dumps(content, indent=1))


def _shown(path: Path) -> str:
    """A path without what is special to this machine."""
    path = path.resolve()
    inside = path.is_relative_to(Path.cwd())
    return path.relative_to(Path.cwd()).as_posix() if inside else path.name
