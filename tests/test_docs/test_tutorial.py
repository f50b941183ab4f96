"""The tutorial runs, and its page and notebook are of the script as it is."""

import json
import os
import re
import sys

import pytest

from mmareaaware.datasets import write_digits
from tests.pages import ROOT, read

PAGE = ROOT / "docs/tutorial"
CELL = re.compile(r"^# %%([^\n]*)\n", re.M)
FEW = dict(train=8, val=4)  # images: a training of seconds in place of minutes


def cells() -> list[tuple[str, str]]:
    """Kind and content of the cells of the script."""
    _, *parts = CELL.split(read("docs/tutorial.py"))
    found = []
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        if kind:  # markdown and bash, which are comments in Python
            text = re.sub(r"^# ?", "", text, flags=re.M)
        found.append((kind.strip(), text.strip()))
    return found


def test_the_page_is_made_of_the_script():
    page = read("docs/tutorial/index.md")
    assert len(cells()) > 20
    for kind, text in cells():
        assert text in page, f"make tutorial: {kind} {text[:80]}"


def test_the_notebook_is_made_of_the_script():
    notebook = json.loads(read("docs/tutorial/tutorial.ipynb"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    for source, (kind, text) in zip(sources, cells(), strict=True):
        assert source == ("%%bash\n" if "bash" in kind else "") + text
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code), "it was not run"


def test_the_pictures_are_small():
    pictures = list(PAGE.glob("index_files/*"))
    assert len(pictures) == read("docs/tutorial/index.md").count("![")
    for path in pictures:
        assert path.stat().st_size < 100_000, path


def test_it_runs(tmp_path, monkeypatch):
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    write_digits(tmp_path / "data/digits", FEW)
    for name in ("configs", "docs", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = os.path.dirname(sys.executable)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    notebook = jupytext.read(ROOT / "docs/tutorial.py")
    nbclient.execute(notebook, cwd=tmp_path, timeout=600)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    shown = json.dumps(outputs)
    assert shown.count("image/jpeg") == 3
    for text in ("small", "on background", "false alarms on background"):
        assert text in shown
