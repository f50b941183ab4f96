import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmareaaware.analysis import matched_detections
from tests.conftest import ROOT

CONFIG = ROOT / "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py"


@pytest.fixture
def call(run_tool, demo_options):
    """The tool, as from a command line."""
    options = [f"{key}={value}" for key, value in demo_options.items()]

    def call(*arguments):
        tool = "analysis/fit_score_shift.py"
        run_tool(tool, *arguments, "--cfg-options", *options)

    return call


@pytest.fixture(autouse=True)
def _boxes_anywhere_are_true(monkeypatch):
    """An untrained network finds nothing: a tenth of an overlap has to do here."""
    monkeypatch.setattr(matched_detections, "IOUS", np.linspace(0.02, 0.1, 10))


@pytest.fixture
def checkpoint(demo_options, tmp_path):
    """Of an untrained network."""
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(demo_options)
    torch.manual_seed(0)
    path = tmp_path / "untrained.pth"
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    return path


def test_what_is_written_loads_with_the_printed_config(
    call, checkpoint, demo_options, tmp_path, capsys
):
    out = tmp_path / "out/shifted.pth"
    call(CONFIG, checkpoint, "--out", out)
    printed = capsys.readouterr().out
    assert "true detections" in printed
    assert "needs model.bbox_head.score_shift={'type': 'SizeScoreShift'}" in printed
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(demo_options)
    cfg.model.bbox_head.score_shift = dict(type="SizeScoreShift")
    state = torch.load(out)["state_dict"]
    MODELS.build(cfg.model).load_state_dict(state, strict=True)
    before = torch.load(checkpoint)["state_dict"]
    assert all(torch.equal(state[name], before[name]) for name in before)


def test_what_is_no_checkpoint_is_named(call, tmp_path):
    path = tmp_path / "none.pth"
    for reason in ("can not be found", "is no checkpoint of MMEngine: "):
        with pytest.raises(SystemExit, match=f"error: .*none.pth {reason}"):
            call(CONFIG, path, "--out", tmp_path / "out.pth")
        path.write_text("weights")
