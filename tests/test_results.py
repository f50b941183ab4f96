"""docs/results.md against the records of the runs beside it."""

import json
from pathlib import Path

import pytest

from mmareaaware.ablation import Grid
from mmareaaware.ablation.report import markdown, tabulate

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = sorted((DOCS / "results").glob("*.json"))


def rows(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("|")}


def cells(text: str) -> list[list[str]]:
    return [row.strip("| ").split(" | ") for row in text.splitlines() if row[:1] == "|"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_tables_are_those_of_the_records(record, root):
    results = json.loads(record.read_text())
    grid = Grid(root / results["grid"])
    written = markdown(grid, results, tabulate(grid, results["runs"]))
    assert rows(written) <= rows((DOCS / "results.md").read_text())


def test_tables_of_the_readme_are_extracts(root):
    """Each of their rows has cells of a row of docs/results.md."""
    text = (root / "README.md").read_text()
    tables = [b for b in text.split("\n\n") if b.startswith("| setting |")]
    known = [set(row) for row in cells((DOCS / "results.md").read_text())]
    assert len(tables) == 2
    for table in tables:
        _, _, *extract = cells(table)
        assert extract
        for row in extract:
            assert any(set(row) <= other for other in known), row
