"""What switch_on makes of a config is what our recipes say by hand."""

from copy import deepcopy

import pytest
import torch
from mmdet.models import FoveaHead
from mmengine.config import Config, ConfigDict
from mmengine.registry import HOOKS, MODELS, DefaultScope

from mmareaaware import switch_on
from mmareaaware.models.label_weighting import LabelWeighting
from mmareaaware.preflight.heads import HEADS, Head
from mmareaaware.switching import SwitchError
from tests.conftest import ROOT
from tests.detectors import STOCK, dense_and_roi_heads
from tests.test_configs import flatten
from tests.test_models.test_dense_heads.heads_of_mmdet import RECIPES, ours
from tests.test_models.test_dense_heads.test_yolo_heads_in_training import (
    RECIPES as RECIPES_OF_MMYOLO,
)

from .conftest import RETINANET, YOLOV8

FASTER = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
WEIGHT = dict(type="StepAreaWeight", weights=(3, 2, 1))
LAZY = """
from mmdet.models.losses import CrossEntropyLoss
from mmyolo.datasets import YOLOv5CocoDataset, yolov5_collate
from mmyolo.datasets.transforms import LoadAnnotations
from mmyolo.models import YOLODetector, YOLOv5DetDataPreprocessor, YOLOv8Head

loss_cls = dict(type=CrossEntropyLoss, use_sigmoid=True, reduction="none")
model = dict(
    type=YOLODetector,
    bbox_head=dict(type=YOLOv8Head, loss_cls=loss_cls),
    data_preprocessor=dict(type=YOLOv5DetDataPreprocessor),
)
train_dataloader = dict(
    dataset=dict(type=YOLOv5CocoDataset, pipeline=[dict(type=LoadAnnotations)]),
    collate_fn=dict(type=yolov5_collate),
)
"""
# The stock head, a recipe, and our head
DENSE = [(kind, f"mmdet::{name}", ours(kind)) for kind, name in RECIPES.items()] + [
    (head.removeprefix("AreaAware"), f"mmyolo::{name}", head)
    for head, name in RECIPES_OF_MMYOLO.items()
]
SAID_AGAIN = {  # by switch_on, and left to the defaults by the recipe
    "model.bbox_head.loss_bg.lambda_bg": 5.0,
    "model.bbox_head.loss_bg.loss_weight": 0.5,
    "model.train_cfg.assigner.topk": 10,
    "custom_hooks.2.param": "bbox_head.loss_bg.lambda_bg",
}


@pytest.mark.parametrize(
    ("recipe", "asked"),
    [
        ("bg-max", dict(bg_penalty=True)),
        ("area-aware", dict(area_weight=True)),
        ("area-aware_bg-max", dict(area_weight="PowerAreaWeight", bg_penalty=5)),
    ],
)
def test_yolov8_becomes_our_recipe(recipe, asked, stock):
    cfg = stock(YOLOV8)
    switch_on(cfg, assigner=True, **asked)
    ours = Config.fromfile(
        f"{ROOT}/configs/yolov8/yolov8_s_{recipe}_8xb16-500e_coco.py"
    )
    hooks = [hook for hook in ours.custom_hooks if "CheckInvalid" not in hook.type]
    ours.custom_hooks = hooks
    for key in ("model", "train_dataloader", "custom_hooks", "custom_imports"):
        made, by_hand = (flatten(c.to_dict()[key], key) for c in (cfg, ours))
        for place in made.keys() | by_hand.keys():
            expected = by_hand.get(place, SAID_AGAIN.get(place))
            assert made.get(place) == expected, place


@pytest.mark.parametrize("kind", STOCK)
def test_heads_of_mmdet_get_the_weight(kind, stock):
    cfg = stock(f"mmdet::{STOCK[kind]}")
    before = deepcopy(dense_and_roi_heads(cfg.model))
    changes = switch_on(cfg, area_weight=WEIGHT)
    for old, new in zip(before, dense_and_roi_heads(cfg.model), strict=True):
        assert new == dict(old, type=f"AreaAware{old.type}", area_weight=WEIGHT)
    assert cfg.custom_imports.imports == ["mmareaaware"]
    heads = [c.place for c in changes if c.place.endswith("area_weight")]
    assert len(heads) == len(before)
    if "roi_head" in cfg.model:
        assert cfg.model.roi_head.type.startswith("AreaAware")


@pytest.mark.parametrize(("head", "name", "expected"), DENSE)
def test_each_dense_head_gets_the_weight_and_the_penalty(head, name, expected, stock):
    cfg = stock(name)
    cfg.model.bbox_head.type = head.removesuffix("_later")
    switch_on(cfg, area_weight=WEIGHT, bg_penalty=True)
    new = cfg.model.bbox_head
    assert new.type == expected
    assert new.area_weight == WEIGHT
    gain = new.get("loss_cls", {}).get("loss_weight", 1.0)
    assert (new.loss_bg.lambda_bg, new.loss_bg.loss_weight) == (5.0, gain)


def test_what_was_set_is_kept(stock):
    cfg = stock(YOLOV8)
    cfg.model.bbox_head.loss_cls.loss_weight = 0.7
    cfg.custom_imports = dict(imports="mmyolo", allow_failed_imports=True)
    switch_on(cfg, area_weight=True, bg_penalty=dict(mode="focal"))
    head = cfg.model.bbox_head
    assert head.loss_cls.loss_weight == head.loss_bg.loss_weight == 0.7
    assert (head.loss_bg.mode, head.loss_bg.lambda_bg) == ("focal", 5.0)
    assert cfg.custom_imports == dict(
        imports=["mmyolo", "mmareaaware"], allow_failed_imports=True
    )


def test_the_sparse_assigner_assigns_as_the_dense_one_did(stock):
    cfg = stock("mmyolo::yolov6/yolov6_s_syncbn_fast_8xb32-400e_coco.py")
    old = cfg.model.train_cfg.assigner.to_dict()
    del old["topk"]  # left to the default, which is another
    del cfg.model.train_cfg.assigner["topk"]
    switch_on(cfg, assigner=dict(min_side=16))
    expected = dict(type="SparseTaskAlignedAssigner", min_side=16, topk=13)
    expected |= dict(use_ciou=False, eps=1e-7)
    assert cfg.model.train_cfg.assigner == old | expected
    assert cfg.model.bbox_head.type == "YOLOv6Head"
    assert cfg.train_dataloader.collate_fn.type == "yolov5_collate"


def test_on_top_of_a_head_of_ours_that_does_nothing_yet():
    cfg = Config.fromfile(f"{ROOT}/configs/yolov8/yolov8_s_8xb16-500e_coco.py")
    changes = switch_on(cfg, area_weight=True)
    assert [c.place for c in changes] == ["model.bbox_head.loss_cls.area_weight"]


def test_within_a_config_file(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mmengine.config.config.FormatCode", lambda text, **_: (f"{text}\n", True)
    )
    path = tmp_path / "mine.py"
    path.write_text(
        f'_base_ = "{RETINANET}"\n'
        "from mmareaaware import switch_on\n\n"
        'switch_on(_base_, area_weight="PowerAreaWeight")\n'
        "model = dict(bbox_head=dict(num_classes=3))\n"
    )
    cfg = Config.fromfile(path)
    head = cfg.model.bbox_head
    assert (head.type, head.num_classes) == ("AreaAwareRetinaHead", 3)
    assert head.area_weight.type == "PowerAreaWeight"
    cfg.dump(tmp_path / "dumped.py")
    assert Config.fromfile(tmp_path / "dumped.py").model == cfg.model
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope("mmdet"), torch.device("meta"):
        built = MODELS.build(cfg.model).bbox_head
    assert type(built.area_weight).__name__ == "PowerAreaWeight"


def test_it_trains(stock):
    cfg = stock(YOLOV8)
    switch_on(cfg, area_weight=True, bg_penalty=2, assigner=True)
    cfg.model.backbone.widen_factor = cfg.model.neck.widen_factor = 0.125
    cfg.model.bbox_head.head_module.widen_factor = 0.125
    boxes = torch.tensor([[0, 1, 8, 8, 30, 40.0], [0, 2, 1, 1, 63, 60]])
    batch = dict(
        inputs=torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8),
        data_samples=dict(bboxes_labels=boxes, bboxes_ignored=torch.zeros(0, 5)),
    )
    model = MODELS.build(cfg.model).train()
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    assert losses["loss_bg"] > 0
    assert losses["area_weight_mean"] > 1


def test_types_may_be_classes(tmp_path):
    path = tmp_path / "lazy.py"
    path.write_text(LAZY)
    cfg = Config.fromfile(path)
    switch_on(cfg, area_weight=True)
    assert cfg.model.bbox_head.type == "AreaAwareYOLOv8Head"
    assert cfg.model.bbox_head.loss_cls.type == "AreaAwareBCELoss"
    assert cfg.model.data_preprocessor.type == "IgnoreAwareDetDataPreprocessor"
    loader = cfg.train_dataloader
    assert loader.collate_fn.type == "ignore_aware_collate"
    assert loader.dataset.pipeline[0].type == "mmdet.LoadAnnotations"


def test_the_student_of_a_semi_supervised_detector(stock):
    cfg = stock(YOLOV8)
    cfg.model = dict(type="mmdet.SemiBaseDetector", detector=cfg.model)
    switch_on(cfg, bg_penalty=3)
    assert cfg.model.detector.bbox_head.loss_bg.lambda_bg == 3
    hook = cfg.custom_hooks[-1]
    assert hook.param == "student.bbox_head.loss_bg.lambda_bg"
    assert HOOKS.build(hook).max_value is None


@pytest.mark.parametrize(
    ("train_cfg", "expected"),
    [
        (dict(max_epochs=500), dict(burn_in=3, warmup=10)),
        (dict(max_epochs=26), dict(burn_in=3, warmup=10)),
        (dict(max_epochs=13), dict(burn_in=1, warmup=5)),
        (dict(max_epochs=1), dict(burn_in=0, warmup=0)),
        (dict(), dict(burn_in=3, warmup=10)),
        (dict(max_iters=2600), dict(burn_in=300, warmup=1000, by_epoch=False)),
    ],
)
def test_lambda_is_full_in_half_of_the_training(train_cfg, expected, stock):
    cfg = stock(YOLOV8)
    cfg.train_cfg = train_cfg
    switch_on(cfg, bg_penalty=2)
    assert cfg.custom_hooks[-1] == dict(
        type="LossParamSchedulerHook",
        param="bbox_head.loss_bg.lambda_bg",
        **expected,
    )


class AreaAwareFoveaHead(LabelWeighting, FoveaHead):
    def __init__(self, *args, loss_bg=None, **kwargs):
        super().__init__(*args, **kwargs)


def test_a_line_in_the_table_is_all_that_a_new_head_takes(stock, monkeypatch):
    name = "foveabox/fovea_r50_fpn_4xb4-1x_coco.py"
    with pytest.raises(SwitchError, match="no size-aware form of FoveaHead"):
        switch_on(stock(f"mmdet::{name}"), area_weight=True)
    monkeypatch.setitem(MODELS.module_dict, "AreaAwareFoveaHead", AreaAwareFoveaHead)
    monkeypatch.setitem(HEADS, "FoveaHead", Head(ours="AreaAwareFoveaHead"))
    cfg = stock(f"mmdet::{name}")
    switch_on(cfg, area_weight=WEIGHT)
    assert cfg.model.bbox_head.type == "AreaAwareFoveaHead"
    assert cfg.model.bbox_head.area_weight == WEIGHT
    cfg = stock(f"mmdet::{name}")
    switch_on(cfg, bg_penalty=2)
    assert "area_weight" not in cfg.model.bbox_head
    assert cfg.model.bbox_head.loss_bg.loss_weight == 1.0
    assert cfg.model.bbox_head.loss_bg.lambda_bg == 2


REFUSED = [
    (FASTER, {}, dict(bg_penalty=1), "has no background penalty"),
    (RETINANET, {}, dict(assigner=True), "no BatchTaskAlignedAssigner"),
    (
        RETINANET,
        {"model.bbox_head.type": "FSAFHead"},
        dict(area_weight=True),
        "no size-aware form of FSAFHead, which descends from RetinaHead",
    ),
    (  # with the losses of that, and another network
        RETINANET,
        {"model.bbox_head.type": "NASFCOSHead"},
        dict(area_weight=True),
        "no size-aware form of NASFCOSHead, which descends from FCOSHead",
    ),
    (
        RETINANET,
        {"model.bbox_head.type": "MyHead"},
        dict(area_weight=True),
        "model.bbox_head.type='MyHead' is not registered",
    ),
    (
        RETINANET,
        {"model.bbox_head.loss_cls.type": "GHMC"},
        dict(area_weight=True),
        "model.bbox_head.loss_cls: GHMC uses no weights",
    ),
    (
        FASTER,
        {"model.roi_head.bbox_head.type": "Shared4Conv1FCBBoxHead"},
        dict(area_weight=True),
        "model.roi_head.bbox_head: there is no size-aware form of Shared4Conv",
    ),
    (
        FASTER,
        {"model.roi_head.type": "DynamicRoIHead"},
        dict(area_weight="BoxScaleWeight"),
        "DynamicRoIHead does not tell its box heads what BoxScaleWeight looks at",
    ),
    (
        FASTER,
        {"model.roi_head.type": "PISARoIHead"},
        dict(area_weight="AreaMismatchWeight"),
        "PISARoIHead asks its box head for targets without predictions",
    ),
    (
        YOLOV8,
        {"model.bbox_head.loss_cls.type": "mmdet.VarifocalLoss"},
        dict(area_weight=True),
        "VarifocalLoss is no sigmoid cross-entropy",
    ),
    (
        YOLOV8,
        {"model.bbox_head.loss_cls.class_weight": [1.0] * 80},
        dict(area_weight=True),
        "has no class_weight=",
    ),
    (RETINANET, {"model": None}, dict(area_weight=True), "has no model"),
    (
        RETINANET,
        {"model.bbox_head": None},
        dict(area_weight=True),
        "'RetinaNet' has no head that is known here",
    ),
]


@pytest.mark.parametrize(("name", "options", "asked", "message"), REFUSED)
def test_refused_with_a_reason_and_left_as_it_is(name, options, asked, message, stock):
    cfg = stock(name)
    cfg.merge_from_dict(options)
    before = deepcopy(cfg.to_dict())
    with pytest.raises(SwitchError, match=message):
        switch_on(cfg, **asked)
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (RETINANET, dict(area_weight=True)),
        (YOLOV8, dict(area_weight=True)),
        (YOLOV8, dict(bg_penalty=True)),
        (YOLOV8, dict(assigner=True)),
    ],
)
def test_twice_is_refused_and_once_is_always_the_same(name, asked, stock):
    first, second = stock(name), stock(name)
    assert switch_on(first, **asked) == switch_on(second, **asked) != []
    assert first.to_dict() == second.to_dict()
    with pytest.raises(SwitchError, match="already"):
        switch_on(first, **asked)
    assert first.to_dict() == second.to_dict()


def test_one_after_the_other_is_both_at_once(stock):
    first, second = stock(YOLOV8), stock(YOLOV8)
    switch_on(first, bg_penalty=True)
    switch_on(first, area_weight=True)
    switch_on(second, area_weight=True, bg_penalty=True)
    assert first.to_dict() == second.to_dict()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "nothing to switch on"),
        (dict(area_weight=False), "nothing to switch on"),
        (dict(area_weight="Power"), r"area_weight\.type='Power' is not registered"),
        (dict(area_weight=dict(type="PowerAreaWeight", ref_area=-1)), "ref_area"),
        (dict(bg_penalty=-1), "lambda_bg must not be negative, got -1"),
        (dict(bg_penalty=0), "must be above 0, got 0"),
        (dict(bg_penalty=dict(type="FocalLoss")), "must be a BgPenaltyLoss"),
        (dict(assigner="BatchATSSAssigner"), "must be a SparseTaskAlignedAssigner"),
    ],
)
def test_a_wrong_setting_is_named(asked, message):
    with pytest.raises(ValueError, match=message):
        switch_on(ConfigDict(model=dict(type="RetinaNet")), **asked)


def test_ignored_boxes_of_mmyolos_other_heads(stock):
    crowd = "yolov5/crowdhuman/yolov5_s-v61_8xb16-300e_ignore_crowdhuman.py"
    cfg = stock(f"mmyolo::{crowd}")
    assert cfg.model.bbox_head.ignore_iof_thr == 0.5
    changes = switch_on(cfg, area_weight=True)
    assert cfg.model.bbox_head.ignore_iof_thr == -1
    assert "model.bbox_head.ignore_iof_thr" in [change.place for change in changes]

    cfg = stock("mmyolo::ppyoloe/ppyoloe_plus_s_fast_8xb8-80e_coco.py")
    switch_on(cfg, bg_penalty=True)
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.type == "IgnoreAwarePPYOLOEDetDataPreprocessor"
