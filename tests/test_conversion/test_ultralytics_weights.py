"""Names and errors. ``test_models/test_yolo11.py`` compares YOLO11 with Ultralytics."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from torch.nn import functional as F

from mmareaaware.conversion.ultralytics_weights import (
    constants,
    from_ultralytics,
    to_ultralytics,
    ultralytics_names,
)
from tests.conftest import ROOT

YOLO11 = ROOT / "configs/yolo11/yolo11_n_8xb16-500e_coco.py"
YOLO11_S = ROOT / "configs/yolo11/yolo11_s_8xb16-500e_coco.py"
YOLOV8 = ROOT / "configs/yolov8/yolov8_n_area-aware_8xb16-500e_coco.py"
DIGITS = ROOT / "configs/demo/yolo11_n_area-aware_bg-max_1xb8-14e_digits.py"
YOLOV5 = "mmyolo::yolov5/yolov5_{}_8xb16-300e_coco.py"


def build(config):
    cfg = get_config(config) if "::" in str(config) else Config.fromfile(config)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        return MODELS.build(cfg.model)


@pytest.fixture(scope="module")
def yolov5():
    return build(YOLOV5.format("n-v61_syncbn_fast"))


@pytest.fixture(scope="module")
def model():
    return build(YOLO11)


@pytest.fixture
def source(model):
    return to_ultralytics(model.state_dict(), model)


def test_names_of_yolov8():
    """Some of Ultralytics' names of YOLOv8, read off its published graph."""
    names = ultralytics_names(list(build(YOLOV8).state_dict()))
    assert len(set(names.values())) == len(names) == 354
    for ours, theirs in {
        "backbone.stage4.2.conv2.conv.weight": "model.9.cv2.conv.weight",
        "backbone.stage2.1.blocks.1.conv2.bn.bias": "model.4.m.1.cv2.bn.bias",
        "neck.top_down_layers.0.main_conv.conv.weight": "model.12.cv1.conv.weight",
        "neck.top_down_layers.1.final_conv.conv.weight": "model.15.cv2.conv.weight",
        "neck.downsample_layers.0.conv.weight": "model.16.conv.weight",
        "neck.bottom_up_layers.0.main_conv.bn.weight": "model.18.cv1.bn.weight",
        "neck.downsample_layers.1.conv.weight": "model.19.conv.weight",
        "neck.bottom_up_layers.1.main_conv.bn.weight": "model.21.cv1.bn.weight",
        "bbox_head.head_module.reg_preds.2.2.bias": "model.22.cv2.2.2.bias",
    }.items():
        assert names[ours] == theirs


class YOLOv5n:
    """Ultralytics' yolov5n.yaml (v6.1) as plain functions of its weights."""

    def __init__(self, weights):
        self.weights = weights

    def conv(self, x, name, stride=1, padding=None):
        w = self.weights
        kernel = w[f"{name}.conv.weight"]
        padding = kernel.shape[-1] // 2 if padding is None else padding
        x = F.conv2d(x, kernel, None, stride, padding)
        bn = [f"{name}.bn.{k}" for k in ("running_mean", "running_var")]
        bn += [f"{name}.bn.{k}" for k in ("weight", "bias")]
        return F.silu(F.batch_norm(x, *(w[k] for k in bn), eps=1e-3))

    def c3(self, x, name, repeats, shortcut):
        inner = self.conv(x, f"{name}.cv1")
        for i in range(repeats):
            new = self.conv(inner, f"{name}.m.{i}.cv1")
            new = self.conv(new, f"{name}.m.{i}.cv2")
            inner = inner + new if shortcut else new
        both = torch.cat([inner, self.conv(x, f"{name}.cv2")], 1)
        return self.conv(both, f"{name}.cv3")

    def sppf(self, x, name):
        pooled = [self.conv(x, f"{name}.cv1")]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.conv(torch.cat(pooled, 1), f"{name}.cv2")

    def __call__(self, x):
        def up(x, other):
            return torch.cat([F.interpolate(x, scale_factor=2), other], 1)

        x = self.conv(x, "model.0", 2, 2)
        x = self.c3(self.conv(x, "model.1", 2), "model.2", 1, True)
        p3 = self.c3(self.conv(x, "model.3", 2), "model.4", 2, True)
        p4 = self.c3(self.conv(p3, "model.5", 2), "model.6", 3, True)
        p5 = self.c3(self.conv(p4, "model.7", 2), "model.8", 1, True)
        n5 = self.conv(self.sppf(p5, "model.9"), "model.10")
        n4 = self.conv(self.c3(up(n5, p4), "model.13", 1, False), "model.14")
        o3 = self.c3(up(n4, p3), "model.17", 1, False)
        down = torch.cat([self.conv(o3, "model.18", 2), n4], 1)
        o4 = self.c3(down, "model.20", 1, False)
        down = torch.cat([self.conv(o4, "model.21", 2), n5], 1)
        o5 = self.c3(down, "model.23", 1, False)
        w = self.weights
        return [
            F.conv2d(o, w[f"model.24.m.{i}.weight"], w[f"model.24.m.{i}.bias"])
            for i, o in enumerate((o3, o4, o5))
        ]


def random_weights(model):
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, value in to_ultralytics(model.state_dict(), model).items():
        if value.is_floating_point() and "anchors" not in name:
            value = torch.randn(value.shape, generator=generator) * 0.1
            value = value.abs() + 0.5 if "running_var" in name else value
        weights[name] = value
    return weights


@torch.no_grad()
def test_yolov5_computes_what_ultralytics_yolov5_does(yolov5):
    weights = random_weights(yolov5)
    ours, dropped = from_ultralytics(weights, yolov5)
    assert dropped == []
    yolov5.load_state_dict(ours)
    yolov5.eval()
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    head = yolov5.bbox_head.head_module(yolov5.neck(yolov5.backbone(image)))
    for expected, cls, box, obj in zip(YOLOv5n(weights)(image), *head, strict=True):
        *_, h, w = expected.shape
        expected = expected.view(1, 3, 85, h, w)
        assert expected.std() > 0.01
        for part, value in ((box, expected[:, :, :4]), (obj, expected[:, :, 4:5])):
            torch.testing.assert_close(part, value.reshape(part.shape))
        torch.testing.assert_close(cls, expected[:, :, 5:].reshape(cls.shape))


@pytest.mark.parametrize("name", ["s-v61_syncbn_fast", "n-p6-v62_syncbn_fast"])
def test_there_and_back_is_exact(name):
    model = build(YOLOV5.format(name))
    weights = random_weights(model)
    back = to_ultralytics(from_ultralytics(weights, model)[0], model)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[k], v) for k, v in weights.items())
    if "p6" in name:  # yolov5n6.yaml ends with layer 33, on four levels
        assert {"model.33.anchors", "model.33.m.3.bias"} <= weights.keys()
        assert "model.31.m.0.bias" not in weights


def test_anchors_of_yolov5(yolov5):
    weights = random_weights(yolov5)
    (name,) = constants(yolov5)
    assert name == "model.24.anchors"
    assert weights[name][0, 0].tolist() == [10 / 8, 13 / 8]
    weights[name] = weights[name].half()  # as published
    from_ultralytics(weights, yolov5)
    weights[name][1, 2, 0] += 0.1
    with pytest.raises(ValueError, match=r"bbox_head\.prior_generator\.base_sizes"):
        from_ultralytics(weights, yolov5)


def test_anchors_that_half_precision_rounds(yolov5, monkeypatch):
    """As those of a training on other data, which were found by clustering."""
    sizes = [[(10.3, 13.7)] * 3, [(30.1, 61.3)] * 3, [(116.9, 90.7)] * 3]
    monkeypatch.setattr(yolov5.bbox_head.prior_generator, "base_sizes", sizes)
    weights = random_weights(yolov5)
    published = weights["model.24.anchors"].half()
    assert not torch.equal(published.float(), weights["model.24.anchors"])
    from_ultralytics(weights | {"model.24.anchors": published}, yolov5)


def test_half_precision_becomes_that_of_the_model(model, source):
    half = {k: v.half() if v.is_floating_point() else v for k, v in source.items()}
    result, _ = from_ultralytics(half, model)
    expected = model.state_dict()
    assert {k: v.dtype for k, v in result.items()} == {
        k: v.dtype for k, v in expected.items()
    }


def test_what_does_not_fit_is_listed(model, source):
    del source["model.0.conv.weight"]
    source["model.99.conv.weight"] = torch.zeros(1)
    source["model.1.bn.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match="3 entries do not fit") as error:
        from_ultralytics(source, model, drop_class_branch=True)
    text = str(error.value)
    assert "missing: model.0.conv.weight (backbone.stem.conv.weight)" in text
    assert "unknown: model.99.conv.weight" in text
    assert "misshapen: model.1.bn.bias is (3,)" in text


def test_another_scale_is_named_and_not_taken_for_other_classes(model, source):
    with pytest.raises(ValueError, match="another model or scale") as error:
        from_ultralytics(source, build(YOLO11_S))
    text = str(error.value)
    assert "has 32 channels, that of the file 16" in text
    assert "--drop-class-branch" not in text
    assert len(text.splitlines()) < 20
    small = build(YOLO11_S).state_dict()
    with pytest.raises(ValueError, match="has 16 channels, that of the file 32"):
        to_ultralytics(small, model)


def test_another_model_is_named(source):
    with pytest.raises(ValueError, match="another model or scale") as error:
        from_ultralytics(source, build(YOLOV8))
    assert "--drop-class-branch" not in str(error.value)


def test_other_classes_only_on_request(source):
    digits = build(DIGITS)
    with pytest.raises(ValueError, match="--drop-class-branch leaves them out"):
        from_ultralytics(source, digits)
    result, dropped = from_ultralytics(source, digits, drop_class_branch=True)
    assert {k.split(".")[2] for k in dropped} == {"cls_preds"}
    assert len(result) + len(dropped) == len(digits.state_dict())
    assert "bbox_head.head_module.cls_preds.0.2.weight" in dropped


def test_reverse_refuses_what_is_not_of_the_model(model):
    state = model.state_dict()
    del state["backbone.stem.conv.weight"]
    with pytest.raises(ValueError, match=r"missing: backbone\.stem\.conv\.weight"):
        to_ultralytics(state, model)


def test_other_models():
    with pytest.raises(ValueError, match="is of no YOLOv5, YOLOv8 or YOLO11"):
        ultralytics_names(["backbone.layer1.0.conv1.weight"])
