"""docs/results.md against the records of the runs beside it."""

import json
from pathlib import Path

import pytest

from mmareaaware.ablation import Grid
from mmareaaware.ablation.report import markdown, tabulate

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = sorted((DOCS / "results").glob("*.json"))


@pytest.fixture(scope="module")
def written(root) -> dict[str, set[str]]:
    """The table rows that the ablation writes of each record."""
    found = {}
    for path in RECORDS:
        results = json.loads(path.read_text())
        grid = Grid(root / results["grid"])
        found[path.stem] = rows(
            markdown(grid, results, tabulate(grid, results["runs"]))
        )
    return found


def rows(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("|")}


def tables(text: str) -> list[list[dict[str, str]]]:
    """Rows of the tables of results, by column."""
    found = []
    for block in text.split("\n\n"):
        if block.startswith("| setting |"):
            header, _, *lines = (
                line.strip("| ").split(" | ") for line in block.splitlines()
            )
            found.append([dict(zip(header, line, strict=True)) for line in lines])
    return found


def test_the_tables_are_those_of_the_records(written):
    assert rows((DOCS / "results.md").read_text()) == set().union(*written.values())


@pytest.mark.parametrize("record", [path.stem for path in RECORDS])
def test_each_section_has_the_tables_of_its_record(record, written):
    text = (DOCS / "results.md").read_text()
    section = text.partition(f"(results/{record}.json)")[2].partition("\n#")[0]
    assert rows(section) == written[record]


def test_tables_of_the_readme_are_extracts(root):
    """Each of their rows is a row of docs/results.md, with fewer columns."""
    known = [
        row.items() for t in tables((DOCS / "results.md").read_text()) for row in t
    ]
    extracts = tables((root / "README.md").read_text())
    assert len(extracts) == 2
    for table in extracts:
        assert table
        for row in table:
            assert any(row.items() <= other for other in known), row
