"""Every part of this package in every stock head: it works there, or is refused."""

import re

import pytest
from mmdet.models import RetinaHead
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmareaaware.preflight import config_findings, model_findings
from mmareaaware.preflight.heads import facts_of, is_known
from tests.test_preflight.expected import HEADS, heads_where
from tests.test_preflight.heads import (
    RECIPES,
    build_heads,
    head_of,
    recipe,
    scope_of,
)

every_head = heads_where()
VOTING = dict(type="BoxVoting")
NEEDS_HALF = ("YOLOv5", "YOLOv7", "YOLOv8", "YOLOv5-u", "YOLO11")  # as loss_weight
# That of SSD calls functions.
every_head_with_losses = pytest.mark.parametrize(
    ("name", "expected"), [item for item in HEADS.items() if item[0] != "SSD"]
)


def test_there_are_22():
    assert len(HEADS) == 22
    assert set(HEADS) == {*RECIPES, "YOLO11"}


def findings(name: str, model: ConfigDict) -> list[str]:
    """Of the built heads, as they are read."""
    return [str(f) for f in model_findings(build_heads(name, model))]


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


@every_head_with_losses
def test_area_weights_in_the_loss(name, expected):
    place, found = with_loss(
        name, type="AreaAwareBCELoss", area_weight=dict(type="PowerAreaWeight")
    )
    (message,) = found
    assert message.startswith(f"{place}: area_weight=PowerAreaWeight(")
    head = place.removesuffix(".loss_cls")
    if expected.ours is None:
        assert "not supported in it yet" in message
        assert "type=" not in message
    else:
        assert f"set {head}.type='{expected.ours}'" in message
        assert (f" and {head}.area_weight" in message) == (expected.weighs == "head")


@every_head_with_losses
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


def class_of(name: str, head: ConfigDict) -> type:
    """Of a head's config."""
    with (
        DefaultScope.overwrite_default_scope(scope_of(name)),
        MODELS.switch_scope_and_registry(None) as registry,
    ):
        return registry.get(head.type)


def of_config(name: str, model: ConfigDict) -> list:
    """What is found before anything is built."""
    with DefaultScope.overwrite_default_scope(scope_of(name)):
        return list(config_findings(model))


@every_head
def test_the_background_penalty(name, expected):
    model = recipe(name)
    place, head = head_of(model)
    head.loss_bg = dict(type="BgPenaltyLoss")
    (finding,) = of_config(name, model)
    assert finding.place == f"{place}.loss_bg"
    assert finding.is_error
    is_fix = re.search(f"set {place}.type='AreaAware\\w*{head.type}'", finding.message)
    assert bool(is_fix) == ("roi_head" not in model)


@pytest.mark.parametrize("slot", ["loss_cls", "loss_obj"])
@every_head
def test_the_penalty_in_the_place_of_another_loss(name, expected, slot):
    model = recipe(name)
    place, head = head_of(model)
    head[slot] = dict(type="BgPenaltyLoss")
    (finding,) = of_config(name, model)
    assert finding.place == f"{place}.{slot}"
    assert f"BgPenaltyLoss is no {slot}" in finding.message


@every_head
def test_box_voting(name, expected):
    """Refused in every stock head, with ours as the fix where it votes."""
    model = recipe(name)
    model.test_cfg = ConfigDict(model.get("test_cfg") or {}, box_voting=VOTING)
    (finding,) = of_config(name, model)
    assert finding.place == "model.test_cfg.box_voting"
    assert finding.is_error
    place, head = head_of(model)
    fix = re.search(f"set {place}.type='(AreaAware\\w*{head.type})'", finding.message)
    votes = "roi_head" not in model and name not in ("RPN", "DINO")
    assert bool(fix) == votes
    if votes:
        head.type = fix[1]
        assert of_config(name, model) == []


@pytest.mark.parametrize("key", ["rcnn", "rpn"])
def test_box_voting_where_nothing_looks(key):
    model = recipe("Faster R-CNN")
    model.test_cfg[key].box_voting = VOTING
    (finding,) = of_config("Faster R-CNN", model)
    assert finding.place == f"model.test_cfg.{key}.box_voting"
    assert "nothing looks for it here" in finding.message


@every_head
def test_the_sparse_assigner(name, expected):
    model = recipe(name)
    train_cfg = model.get("train_cfg") or ConfigDict()
    train_cfg.assigner = dict(
        type="SparseTaskAlignedAssigner", num_classes=80, use_ciou=False
    )
    model.train_cfg = train_cfg
    found = of_config(name, model)
    if expected.sparse:
        assert found == []
        assert findings(name, model) == []
    else:
        (finding,) = found
        assert finding.place == "model.train_cfg.assigner"
        assert "YOLOv6Head, PPYOLOEHead, YOLOv8Head" in finding.message


def reduction_of(name: str, slot: str = "loss_cls") -> str:
    """What a head counts on in a loss of its own."""
    _, head = head_of(recipe(name))
    loss = head.get(slot) or {}
    return loss.get("reduction", "sum" if "YOLOX" in name else "mean")


@every_head_with_losses
@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
def test_positive_weights(name, expected, form):
    place, found = with_loss(
        name,
        type="PosWeightedCrossEntropyLoss",
        pos_weight=3.0,
        use_sigmoid=form == "sigmoid",
        reduction=reduction_of(name),
        loss_weight=0.5 if name in NEEDS_HALF else 1.0,
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


@heads_where(lambda expected: expected.form)
def test_division_by_the_weights_of_one_call(name, expected):
    place, found = with_loss(
        name,
        type="PosWeightedCrossEntropyLoss",
        pos_weight=3.0,
        use_sigmoid=expected.form == "sigmoid",
        reduction=reduction_of(name),
        loss_weight=0.5 if name in NEEDS_HALF else 1.0,
        **(dict(avg_by_weight=True) if reduction_of(name) == "mean" else {}),
    )
    is_refused = "R-CNN" not in name and reduction_of(name) == "mean"
    assert bool(found) == is_refused
    if is_refused:
        assert found[0].startswith(f"{place}.avg_by_weight: True divides by")


@heads_where(lambda expected: expected.sparse)
def test_the_overlap_that_the_sparse_assigner_has_by_default(name, expected):
    model = recipe(name)
    model.train_cfg.assigner = dict(type="SparseTaskAlignedAssigner", num_classes=80)
    found = of_config(name, model)
    if name in ("YOLOv6", "PP-YOLOE+"):
        (finding,) = found
        assert "IoU: write use_ciou=False" in finding.message
        assert not finding.is_error
    else:
        assert found == []


@every_head_with_losses
def test_the_loss_weight_of_the_recipe_is_known(name, expected):
    _, head = head_of(recipe(name))
    facts = facts_of(class_of(name, head))
    assert head.get("loss_cls", {}).get("loss_weight", 1.0) in facts.loss_weights


@heads_where(lambda expected: expected.form)
def test_another_loss_weight_than_the_recipe_s(name, expected):
    """As _delete_=True leaves it, or as it is written."""
    model = recipe(name)
    place, head = head_of(model)
    own = head.get("loss_cls", {}).get("loss_weight", 1.0)
    loss = dict(
        type="PosWeightedCrossEntropyLoss",
        use_sigmoid=expected.form == "sigmoid",
        reduction=reduction_of(name),
    )
    place, found = with_loss(name, **loss)
    assert (found == []) == (own == 1)
    place, (message,) = with_loss(name, **loss, loss_weight=7.0)
    assert message.startswith(f"{place}: loss_weight=7.0, where the recipes of ")
    assert f"have {own:g}" in message
    assert f"write loss_weight={own:g}" in message


def test_the_loss_weights_that_depend_on_the_data():
    """In the recipes of YOLOv5, on the number of classes."""
    model = recipe("YOLOv5")
    _, head = head_of(model)
    head.head_module.num_classes = 8
    loss = dict(type="PosWeightedCrossEntropyLoss", use_sigmoid=True)
    for weight, is_own in {0.5: True, 0.05: True, 0.03: True, 0.1: False}.items():
        head.loss_cls = ConfigDict(loss, loss_weight=weight)
        found = findings("YOLOv5", model)
        assert (found == []) == is_own
    assert "have 0.05 or 0.03: write loss_weight=0.05 or 0.03" in found[0]


def test_a_loss_where_a_head_has_none():
    model = recipe("SSD")
    model.bbox_head.loss_cls = dict(type="PosWeightedCrossEntropyLoss")
    (finding,) = of_config("SSD", model)
    assert str(finding).startswith("model.bbox_head.loss_cls: SSDHead takes no loss_cl")


OTHERS = {
    "PAA": "paa/paa_r50_fpn_1x_coco.py",
    "DDOD": "ddod/ddod_r50_fpn_1x_coco.py",
    "FSAF": "fsaf/fsaf_r50_fpn_1x_coco.py",
    "FreeAnchor": "free_anchor/freeanchor_r50_fpn_1x_coco.py",
    "AutoAssign": "autoassign/autoassign_r50-caffe_fpn_1x_coco.py",
    "YOLOF": "yolof/yolof_r50-c5_8xb8-1x_coco.py",
}


@pytest.mark.parametrize("loss", ["AreaAwareBCELoss", "PosWeightedCrossEntropyLoss"])
@pytest.mark.parametrize("name", OTHERS)
def test_heads_that_are_not_known(monkeypatch, name, loss):
    """Also where they descend from one that is, and compute their losses anew."""
    monkeypatch.setitem(RECIPES, name, f"mmdet::{OTHERS[name]}")
    model = recipe(name)
    model.bbox_head.loss_cls = ConfigDict(type=loss, use_sigmoid=True)
    (finding,) = model_findings(build_heads(name, model))
    assert not finding.is_error
    assert str(finding).startswith(
        f"model.bbox_head.loss_cls: {model.bbox_head.type} is none of the heads that "
    )
    model.bbox_head.loss_cls.update(
        type="AreaAwareBCELoss", area_weight=dict(type="PowerAreaWeight")
    )
    (finding,) = model_findings(build_heads(name, model))
    assert finding.is_error
    assert "type='" not in finding.message.partition("needs")[2]


class OwnHead(RetinaHead):
    """Somebody's, with another network."""


class OwnLosses(RetinaHead):
    """Somebody's, with other losses too."""

    def loss_by_feat(self, *args, **kwargs):
        return {}


class PoppingHead(RetinaHead):
    """Somebody's, who takes what he needs."""

    def __init__(self, *args, **kwargs) -> None:
        self.loss_bg = kwargs.pop("loss_bg", None)
        super().__init__(*args, **kwargs)


def test_a_head_that_may_take_anything():
    for head, number in ((PoppingHead, 0), (OwnHead, 1)):
        model = dict(bbox_head=dict(type=head, loss_bg=dict(type="BgPenaltyLoss")))
        assert len(list(config_findings(model))) == number


def test_the_number_of_classes_of_the_sparse_assigner(make_head):
    assigner = dict(type="SparseTaskAlignedAssigner", num_classes=80)
    head = make_head(num_classes=10, train_cfg=dict(assigner=assigner))
    (finding,) = model_findings(nn.ModuleDict(dict(bbox_head=head)))
    assert str(finding) == (
        "model.train_cfg.assigner.num_classes: 80, and model.bbox_head.num_classes is "
        "10: set it to 10"
    )


def test_heads_of_somebody_s_own():
    assert facts_of(OwnHead) == facts_of(RetinaHead)
    assert not is_known(OwnLosses)
    assigner = dict(type="SparseTaskAlignedAssigner", num_classes=80)
    for head, is_error in ((OwnHead, True), (OwnLosses, False)):
        model = dict(bbox_head=dict(type=head), train_cfg=dict(assigner=assigner))
        (finding,) = config_findings(model)
        assert finding.is_error == is_error
    assert "whether OwnLosses calls a SparseTaskAlignedAssigner is unknown" in str(
        finding
    )
