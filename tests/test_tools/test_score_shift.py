"""The benchmark of score shifts, on an untrained network."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmareaaware.analysis import matched_detections
from tests.conftest import ROOT

METRICS = {
    "coco/bbox_mAP": 0.25,
    "coco/bbox_mAP_s": 0.125,
    "coco/bbox_mAP_m": None,
    "background/best_f1": 0.5,
}


@pytest.fixture
def run_folder(demo_options, tmp_path):
    """What `tools/ablation.py` leaves of a run."""
    cfg = Config.fromfile(ROOT / "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py")
    cfg.merge_from_dict(demo_options)
    folder = tmp_path / "runs/baseline/seed3"
    (folder / "train").mkdir(parents=True)
    cfg.dump(folder / "config.py")
    checkpoint = folder / "train/epoch_2.pth"
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    (folder / "train/last_checkpoint").write_text(str(checkpoint))
    content = dict(metrics=METRICS, environment=dict(data_root="digits"))
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def called(run_tool, monkeypatch):
    """Names of the tools that are called, in this process, which is faster."""
    names, run_any = [], subprocess.run

    def run(command, *args, **kwargs):
        if command[0] != sys.executable:
            return run_any(command, *args, **kwargs)
        tool = command[1].relative_to(ROOT / "tools")
        names.append(str(tool))
        run_tool(tool, *command[2:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    return names


def test_what_a_shift_is_worth(
    run_folder, run_tool, called, tmp_path, capsys, monkeypatch
):
    # An untrained network finds nothing: a tenth of an overlap has to do here
    monkeypatch.setattr(matched_detections, "IOUS", np.linspace(0.02, 0.1, 10))
    out = tmp_path / "out"
    arguments = ("benchmark/score_shift.py", run_folder, "--out", out)
    run_tool(*arguments)
    assert called == ["analysis/fit_score_shift.py", "test.py"]
    (result,) = json.loads((out / "score_shift.json").read_text())["results"]
    assert (result["data"], result["setting"], result["seed"]) == (
        "digits",
        "baseline",
        3,
    )
    assert result["without"] == METRICS
    (tested,) = out.glob("digits_baseline_seed3/test/*/*.json")
    tested = json.loads(tested.read_text())
    assert result["shifted"] == {key: tested[key] for key in METRICS}
    gain = 100 * (tested["coco/bbox_mAP"] - 0.25)
    assert f"{gain:+.2f}" in capsys.readouterr().out
    run_tool(*arguments)
    assert len(called) == 2  # what is there is not done again


def test_a_tool_that_fails_is_named(run_folder, run_tool, tmp_path, monkeypatch):
    failed = SimpleNamespace(returncode=1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match=r"error: fit_score_shift\.py failed, .*log"):
        run_tool("benchmark/score_shift.py", run_folder, "--out", tmp_path / "out")
