"""The converter as a command; ``test_conversion`` says that it is right."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmareaaware.conversion.ultralytics_weights import to_ultralytics
from tests.conftest import ROOT
from tests.processes import run_tool

TOOL = ROOT / "tools/model_converters/ultralytics_to_mmyolo.py"
YOLO11 = ROOT / "configs/yolo11/yolo11_n_8xb16-500e_coco.py"
YOLO11_S = ROOT / "configs/yolo11/yolo11_s_8xb16-500e_coco.py"


@pytest.fixture(scope="module")
def model():
    return MODELS.build(Config.fromfile(YOLO11).model)


@pytest.fixture
def theirs(model, tmp_path):
    path = tmp_path / "theirs.pt"
    torch.save(to_ultralytics(model.state_dict(), model), path)
    return path


def run(*arguments, **kwargs):
    return run_tool([TOOL, *arguments], **kwargs)


def refused(*arguments) -> str:
    """The one line that it says."""
    result = run(*arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not arguments[2].exists()
    return result.stderr[result.stderr.index("error: ") :].rstrip()


def test_there_and_back(model, theirs, tmp_path):
    ours, back = tmp_path / "ours.pth", tmp_path / "back.pt"
    result = run(YOLO11, theirs, ours, new=True)
    assert result.returncode == 0, result.stderr
    assert "498 entries written" in result.stdout
    state = torch.load(ours, weights_only=True)["state_dict"]
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert run(YOLO11, ours, back, "--reverse").returncode == 0
    source, again = (torch.load(p, weights_only=True) for p in (theirs, back))
    assert again.keys() == source.keys()
    assert all(torch.equal(again[k], v) for k, v in source.items())


def test_the_wrong_scale(theirs, tmp_path):
    text = refused(YOLO11_S, theirs, tmp_path / "x.pth")
    assert "Is CONFIG of another model or scale?" in text
    assert "--drop-class-branch" not in text


class RunsCode:
    def __reduce__(self):
        return os.system, ("echo ran > ran",)


def test_code_in_a_file_runs_on_trust_only(model, theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(model=torch.load(theirs), trainer=RunsCode()), "evil.pt")
    assert run(YOLO11, "evil.pt", "ours.pth").returncode == 0
    assert (tmp_path / "ours.pth").exists()
    assert not (tmp_path / "ran").exists()
    assert run(YOLO11, "evil.pt", "ours.pth", "--trust").returncode == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"some text", "is no file of torch.save"),
        (b"PK\x03\x04 and no more", "is cut off or damaged"),
        (None, "No such file or directory"),
    ],
    ids=["empty", "text", "truncated", "missing"],
)
@pytest.mark.parametrize("option", [[], ["--trust"]], ids=["", "trust"])
def test_files_that_are_none(tmp_path, content, message, option):
    path = tmp_path / "x.pt"
    if content is not None:
        path.write_bytes(content)
    text = refused(YOLO11, path, tmp_path / "x.pth", *option)
    assert len(text.splitlines()) == 1
    assert str(path) in text
    assert option or message in text


def test_a_config_that_is_none(theirs, tmp_path):
    text = refused(tmp_path / "none.py", theirs, tmp_path / "x.pth")
    assert "none.py" in text
