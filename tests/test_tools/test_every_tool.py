"""What all tools have in common."""

import json
import re
from pathlib import Path

import pytest

from mmareaaware.whole_file import whole_file
from tests.conftest import ROOT

TOOLS = sorted(
    path.relative_to(ROOT / "tools").as_posix()
    for path in (ROOT / "tools").rglob("*.py")
    if "__main__" in path.read_text()
)


@pytest.mark.parametrize("tool", TOOLS)
def test_help_shows_an_example(tool, run_tool, capsys):
    with pytest.raises(SystemExit) as end:
        run_tool(tool, "--help")
    assert not end.value.code
    text = capsys.readouterr().out
    assert re.search(rf"^ *python tools/{tool} ?", text, re.MULTILINE)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_a_thin_script(tool):
    """It takes from the package, and no other script takes from it."""
    text = (ROOT / "tools" / tool).read_text()
    assert "sys.path" not in text
    siblings = {path.stem for path in (ROOT / "tools" / tool).parent.glob("*.py")}
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
    assert not imported & siblings


def test_tests_take_from_the_package():
    trick = re.compile(r"sys\.path\.(insert|append)|syspath_" + "prepend")
    tests = (ROOT / "tests").rglob("*.py")
    assert [path.name for path in tests if trick.search(path.read_text())] == []


def write(path, text, interrupted=False) -> None:
    with whole_file(path) as partial:
        partial.write_text(text)
        if interrupted:
            raise KeyboardInterrupt


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new/a.txt"
    with pytest.raises(KeyboardInterrupt):
        write(path, "hal", interrupted=True)
    assert list(path.parent.iterdir()) == []
    write(path, "whole")
    with pytest.raises(KeyboardInterrupt):
        write(path, "hal", interrupted=True)
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_tool_leaves_no_half_file(run_tool, tmp_path, monkeypatch):
    images = [dict(id=i, file_name=f"{i}.jpg") for i in range(20)]
    boxes = [dict(id=i, image_id=i, category_id=1) for i in range(20)]
    content = dict(
        images=images, annotations=boxes, categories=[dict(id=1, name="bird")]
    )
    file = tmp_path / "annotations/train.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    write_text = Path.write_text

    def interrupted(path, text):
        write_text(path, text[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_tool("dataset_converters/split_semi.py", file, "--percents", 10)
    assert list((tmp_path / "semi_anns").iterdir()) == []


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_writes_whole_files(tool):
    text = (ROOT / "tools" / tool).read_text()
    straight = re.findall(r"^.*(?:\.write_text\(|savefig\((?!partial)).*$", text, re.M)
    assert straight == []
    assert "torch.save" not in text or "whole_file" in text
