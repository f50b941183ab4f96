"""What a config needs to train in several processes without a GPU."""

import pytest
from mmengine.config import ConfigDict
from mmyolo.models import YOLODetector

from mmareaaware.engine import launch


@pytest.fixture(autouse=True)
def _processes_without_gpu(monkeypatch):
    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launch.distributed, "is_initialized", lambda: True)


@pytest.mark.parametrize("type_", ["YOLODetector", "mmyolo.YOLODetector", YOLODetector])
@pytest.mark.parametrize("is_semi", [False, True])
def test_no_synchronised_batch_norm(type_, is_semi):
    detector = ConfigDict(type=type_, use_syncbn=True)
    model = detector
    if is_semi:
        model = ConfigDict(type="SemiYOLODetector", detector=detector)
    cfg = ConfigDict(launcher="pytorch", model=model)
    launch.use_gloo_without_gpu(cfg)
    assert detector.use_syncbn is False
    assert ("use_syncbn" in model) != is_semi
    assert cfg.model_wrapper_cfg.device_ids is None


def test_other_detectors_stay_as_they_are():
    cfg = ConfigDict(launcher="pytorch", model=ConfigDict(type="FasterRCNN"))
    launch.use_gloo_without_gpu(cfg)
    assert cfg.model == dict(type="FasterRCNN")
