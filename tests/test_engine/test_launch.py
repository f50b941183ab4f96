"""What a config needs to train in several processes without a GPU."""

import pytest
from mmengine.config import ConfigDict
from mmyolo.models import YOLODetector

from mmareaaware.engine import launch


@pytest.mark.parametrize("type_", ["YOLODetector", "mmyolo.YOLODetector", YOLODetector])
@pytest.mark.parametrize("is_semi", [False, True])
def test_no_synchronised_batch_norm(monkeypatch, type_, is_semi):
    monkeypatch.setattr(launch.distributed, "is_initialized", lambda: True)
    detector = ConfigDict(type=type_, use_syncbn=True)
    model = detector
    if is_semi:
        model = ConfigDict(type="SemiYOLODetector", detector=detector)
    cfg = ConfigDict(launcher="pytorch", model=model)
    launch.use_gloo_without_gpu(cfg)
    assert detector.use_syncbn is False
    assert ("use_syncbn" in model) != is_semi
    assert cfg.model_wrapper_cfg.device_ids is None


def test_other_detectors_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(launch.distributed, "is_initialized", lambda: True)
    cfg = ConfigDict(launcher="pytorch", model=ConfigDict(type="FasterRCNN"))
    launch.use_gloo_without_gpu(cfg)
    assert cfg.model == dict(type="FasterRCNN")
