"""Objects of few positives counting more, switched on."""

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmareaaware import switch_on
from mmareaaware.switching import SwitchError
from tests.conftest import ROOT

from .conftest import RETINANET, YOLOV8

SPARSE = "SparseTaskAlignedAssigner"


def test_it_brings_the_assigner_that_it_needs(stock):
    cfg = stock(YOLOV8)
    before = dict(cfg.model.train_cfg.assigner)
    places = {change.place for change in switch_on(cfg, balance_objects=True)}
    assert {"model.bbox_head.balance_objects", "model.train_cfg.assigner.type"} < places
    assert cfg.model.train_cfg.assigner == before | dict(type=SPARSE)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(cfg.model).bbox_head
    assert head.balance_objects == 0.5
    assert type(head.assigner).__name__ == SPARSE
    assert head.loss_bg is None


def test_where_the_assigner_is_there_it_stays(stock):
    cfg = Config.fromfile(ROOT / "configs/yolo11/yolo11_s_bg-max_8xb16-500e_coco.py")
    changes = switch_on(cfg, balance_objects=1)
    (change,) = changes
    assert change == ("model.bbox_head.balance_objects", None, 1)

    cfg = stock(YOLOV8)
    switch_on(cfg, assigner=dict(min_side=16), balance_objects=0.25)
    assert cfg.model.train_cfg.assigner.min_side == 16
    assert cfg.model.bbox_head.balance_objects == 0.25


def test_what_cannot_be_is_refused_and_nothing_changes(stock):
    cfg = stock(RETINANET)
    before = cfg.to_dict()
    with pytest.raises(SwitchError, match=r"RetinaHead has no balance .* YOLOv8Head$"):
        switch_on(cfg, balance_objects=True)
    assert cfg.to_dict() == before
    cfg = stock(YOLOV8)
    switch_on(cfg, balance_objects=True)
    with pytest.raises(SwitchError, match="balances objects already"):
        switch_on(cfg, balance_objects=True)
    for value in (0, -0.5, 1.5):
        with pytest.raises(ValueError, match=f"above 0 and up to 1, got {value}"):
            switch_on(stock(YOLOV8), balance_objects=value)
