"""What is noted beside numbers."""

import platform

import pytest
import torch

from mmareaaware import environment as module
from mmareaaware.environment import environment


def test_what_is_noted(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "hit_uav"))
    monkeypatch.setenv("PERCENT", "5")
    monkeypatch.setenv("OPTIM_WRAPPER", "BFloat16OptimWrapper")
    noted = environment()
    assert noted["data_root"] == "hit_uav"
    assert noted["percent"] == "5"
    assert noted["optim_wrapper"] == "BFloat16OptimWrapper"
    assert noted["python"] == platform.python_version()
    assert noted["torch"] == torch.__version__
    assert {"mmengine", "mmcv", "mmdet", "mmyolo", "mmareaaware", "cpu"} <= set(noted)
    assert noted["cores"] >= 1
    assert not [v for v in noted.values() if "/" in str(v)]
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert "commit" not in environment()


@pytest.mark.parametrize(
    ("devices", "gpu"),
    [
        ({}, None),
        ({"GPU 0,1": "H100"}, "H100"),
        ({"GPU 0": "A100", "GPU 1": "L4"}, "A100, L4"),
    ],
)
def test_gpus(monkeypatch, devices, gpu):
    found = dict(Python="3.11.7 (main)", PyTorch="2", MMEngine="0", **devices)
    monkeypatch.setattr(module, "collect_env", lambda: found)
    assert environment().get("gpu") == gpu
