import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmareaaware.conversion.onnx_export import (
    Deployed,
    export_onnx,
    largest_difference,
)
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def detector():
    """Random statistics, so that a normalisation left out shows."""
    cfg = Config.fromfile(ROOT / "configs/yolo11/yolo11_n_8xb16-500e_coco.py")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.6, 1.4)
    return model.eval()


def test_onnx_runtime_agrees_for_any_batch(detector, tmp_path):
    path, size = tmp_path / "model.onnx", (64, 96)
    export_onnx(detector, path, size)
    for batch in (1, 3):
        difference = largest_difference(detector, path, size, batch)
        assert max(difference) < 1e-4


def test_a_score_shift_is_exported(tmp_path):
    """Onnx Runtime's scores less those without it, as logits, are the shifts."""
    cfg = Config.fromfile(ROOT / "configs/yolo11/yolo11_n_bg-max_8xb16-500e_coco.py")
    cfg.model.bbox_head.score_shift = dict(type="SizeScoreShift", sides=(4, 12, 64))
    torch.manual_seed(0)
    detector = MODELS.build(cfg.model).eval()
    size = (64, 96)
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        boxes, plain = Deployed(detector, size)(images)
    shift = detector.bbox_head.score_shift
    shift.shifts.copy_(torch.tensor([2.0, -1.0, 3.0]))
    export_onnx(detector, tmp_path / "model.onnx", size)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    found = torch.tensor(session.run(["scores"], {"images": images.numpy()})[0])
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1, keepdim=True)
    expected = (plain.logit() + shift.at(areas)).sigmoid()
    assert (expected - plain).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_outputs_are_those_of_the_head(detector):
    """Decoded boxes and probabilities before the non-maximum suppression."""
    size = (64, 96)
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        boxes, scores = Deployed(detector, size)(images)
        head = detector.bbox_head
        maps = head(detector.neck(detector.backbone(images)))
        meta = dict(ori_shape=size, pad_param=None, scale_factor=(1, 1))
        cfg = head.test_cfg.copy()
        cfg.update(score_thr=-1.0, nms_pre=10**6, max_per_img=10**6, multi_label=False)
        (result,) = head.predict_by_feat(
            *maps, batch_img_metas=[meta], cfg=cfg, rescale=False, with_nms=False
        )
    best = scores[0].max(1)
    order = best.values.argsort(descending=True, stable=True)
    torch.testing.assert_close(
        result.scores.sort(descending=True).values, best.values[order]
    )
    inside = torch.tensor([size[1], size[0], size[1], size[0]])
    expected = boxes[0].clamp(min=0).minimum(inside)[order]
    found = result.bboxes[result.scores.argsort(descending=True, stable=True)]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(size=(65, 96)),
            r"size must be multiples of the stride 32, got \(65, 96\)",
        ),
        (dict(size=(64, 64), opset=11), "opset must be at least 17, got 11"),
    ],
)
def test_wrong_options_are_refused(detector, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_onnx(detector, tmp_path / "model.onnx", **options)
