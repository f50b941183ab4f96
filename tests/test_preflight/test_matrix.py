"""Every part of this package in every stock head: it works there, or is refused."""

import re
from typing import NamedTuple

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from mmareaaware.preflight import config_findings, model_findings
from tests.test_preflight.heads import RECIPES, build_heads, head_of, recipe


class Expected(NamedTuple):
    """Of a head."""

    area: str = "not supported in it yet"  # what helps who asks for area weights
    form: str | None = None  # of positive weights
    plain: bool = False  # AreaAwareBCELoss without area weight is its own loss
    sparse: bool = False  # it calls the sparse assigner


OF_YOLOV8 = Expected("type='AreaAwareYOLOv8Head'", "sigmoid", plain=True, sparse=True)
OF_RCNN = Expected("type='AreaAwareShared2FCBBoxHead' and ", "softmax")
HEADS = {
    "YOLOv5": Expected(form="sigmoid"),
    "YOLOv6": Expected(sparse=True),
    "YOLOv7": Expected(form="sigmoid"),
    "YOLOv8": OF_YOLOV8,
    "YOLOv5-u": OF_YOLOV8,
    "YOLO11": OF_YOLOV8,
    "YOLOX": Expected(form="sigmoid"),
    "YOLOX of mmdet": Expected("type='AreaAwareMMDetYOLOXHead' and ", "sigmoid"),
    "PP-YOLOE+": Expected(sparse=True),
    "RTMDet": Expected(),
    "RTMDet of mmdet": Expected("type='AreaAwareRTMDetSepBNHead' and "),
    "RetinaNet": Expected("type='AreaAwareRetinaHead' and ", "sigmoid"),
    "ATSS": Expected("type='AreaAwareATSSHead' and ", "sigmoid"),
    "FCOS": Expected("type='AreaAwareFCOSHead' and ", "sigmoid"),
    "GFL": Expected("type='AreaAwareGFLHead' and "),
    "TOOD": Expected("type='AreaAwareTOODHead' and "),
    "DINO": Expected("type='AreaAwareDINOHead' and "),
    "Faster R-CNN": OF_RCNN,
    "Mask R-CNN": OF_RCNN,
    "Cascade R-CNN": OF_RCNN,
    "RPN": Expected("type='AreaAwareRPNHead' and ", "sigmoid"),
}
every_head = pytest.mark.parametrize(("name", "expected"), HEADS.items(), ids=HEADS)


def scope_of(name: str) -> str:
    return RECIPES.get(name, "mmyolo::").partition("::")[0]


def findings(name: str, model: ConfigDict) -> list[str]:
    """Of the built heads, as they are read."""
    return [str(f) for f in model_findings(build_heads(model, scope_of(name)))]


def with_loss(name: str, slot: str = "loss_cls", **loss) -> tuple[str, list[str]]:
    """The place of the loss, and what is found with it in the head's."""
    model = recipe(name)
    place, head = head_of(model)
    head[slot] = ConfigDict(loss)
    return f"{place}.{slot}", findings(name, model)


@every_head
def test_nothing_is_found_in_a_stock_recipe(name, expected):
    model = recipe(name)
    assert findings(name, model) == []
    with DefaultScope.overwrite_default_scope(scope_of(name)):
        assert not list(config_findings(model))


@every_head
def test_area_weights_in_the_loss(name, expected):
    place, found = with_loss(
        name, type="AreaAwareBCELoss", area_weight=dict(type="PowerAreaWeight")
    )
    (message,) = found
    assert message.startswith(f"{place}: area_weight=PowerAreaWeight(")
    assert expected.area in message
    assert ("AreaAwareYOLOv8Head'" in message) == expected.plain


@every_head
def test_the_loss_without_area_weight(name, expected):
    stock = dict(type="AreaAwareBCELoss", loss_weight=0.5)
    place, found = with_loss(name, reduction="none", **stock)
    if expected.plain:
        assert found == []
        _, found = with_loss(name, reduction="mean", **stock)
        assert "set reduction='none'" in found[0]
    else:
        assert found[0].startswith(
            f"{place}: AreaAwareBCELoss(area_weight=None) is not"
        )
        assert "Leave loss_cls as the recipe has it" in found[0]


def of_config(name: str, model: ConfigDict) -> list:
    """What is found before anything is built."""
    with DefaultScope.overwrite_default_scope(scope_of(name)):
        return list(config_findings(model))


@pytest.mark.parametrize("name", [*HEADS, "SSD"])
def test_the_background_penalty(name):
    model = recipe(name)
    place, head = head_of(model)
    head.loss_bg = dict(type="BgPenaltyLoss")
    (finding,) = of_config(name, model)
    assert finding.place == f"{place}.loss_bg"
    assert finding.is_error
    is_fix = re.search(f"set {place}.type='AreaAware\\w*{head.type}'", finding.message)
    is_dense = "roi_head" not in model
    is_ours = head.type == "YOLOv8Head" or scope_of(name) == "mmdet"
    assert bool(is_fix) == (is_dense and is_ours)


@pytest.mark.parametrize("slot", ["loss_cls", "loss_obj"])
@every_head
def test_the_penalty_in_the_place_of_another_loss(name, expected, slot):
    model = recipe(name)
    place, head = head_of(model)
    head[slot] = dict(type="BgPenaltyLoss")
    (finding,) = of_config(name, model)
    assert finding.place == f"{place}.{slot}"
    assert f"BgPenaltyLoss is no {slot}" in finding.message


@pytest.mark.parametrize("name", [*HEADS, "SSD"])
def test_the_sparse_assigner(name):
    model = recipe(name)
    train_cfg = model.get("train_cfg") or ConfigDict()
    train_cfg.assigner = dict(type="SparseTaskAlignedAssigner", num_classes=80)
    model.train_cfg = train_cfg
    found = of_config(name, model)
    if name in HEADS and HEADS[name].sparse:
        assert found == []
        assert findings(name, model) == []
    else:
        (finding,) = found
        assert finding.place == "model.train_cfg.assigner"
        assert "YOLOv6Head, PPYOLOEHead, YOLOv8Head" in finding.message


@every_head
@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
def test_positive_weights(name, expected, form):
    reduction = {"YOLOv8": "none", "YOLOv5-u": "none", "YOLO11": "none"}.get(name)
    reduction = reduction or ("sum" if "YOLOX" in name else "mean")
    place, found = with_loss(
        name,
        type="PosWeightedCrossEntropyLoss",
        pos_weight=3.0,
        use_sigmoid=form == "sigmoid",
        reduction=reduction,
    )
    if form == expected.form:
        assert found == []
    elif expected.form is None:
        assert "is not supported as loss_cls of" in found[0]
    else:
        assert found == [
            f"{place}: use_sigmoid={form == 'sigmoid'} is the {form} form, and "
            f"{found[0].split(' form, and ')[1].split()[0]} is made for "
            f"{expected.form}: set use_sigmoid={expected.form == 'sigmoid'}"
        ]
