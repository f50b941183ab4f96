"""Votes on the detections, switched on."""

import pytest
from mmengine.registry import MODELS, DefaultScope

from mmareaaware import switch_on
from mmareaaware.models.dense_heads.box_voting import build_box_voting
from mmareaaware.preflight import config_findings
from mmareaaware.switching import SwitchError

from .conftest import RETINANET, YOLOV8

FASTER = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
DINO = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"


@pytest.mark.parametrize("recipe", [YOLOV8, RETINANET])
def test_heads_vote(stock, recipe):
    cfg = stock(recipe)
    nms = cfg.model.test_cfg.nms
    changes = switch_on(cfg, box_voting=dict(agreement=1))
    assert ("model.test_cfg.box_voting", None, dict(type="BoxVoting", agreement=1)) in (
        changes
    )
    with DefaultScope.overwrite_default_scope(recipe.partition("::")[0]):
        assert not list(config_findings(cfg.model))
        head = MODELS.build(cfg.model).bbox_head
    assert build_box_voting(head.test_cfg).agreement == 1
    assert head.test_cfg.nms == nms


def test_nothing_of_the_training_changes(stock):
    """Beside the head, which does what the stock head does, and ignored boxes."""
    cfg = stock(YOLOV8)
    switch_on(cfg, box_voting=True)
    neutral = stock(YOLOV8)
    switch_on(neutral, box_voting=True)
    del neutral.model.test_cfg.box_voting
    other = stock(YOLOV8)
    switch_on(other, area_weight=dict(type="PowerAreaWeight"))
    other.model.bbox_head.loss_cls.pop("area_weight")
    assert neutral.to_dict() == other.to_dict()
    assert cfg.model.test_cfg.box_voting == dict(type="BoxVoting")


def test_a_head_with_a_test_cfg_of_its_own(stock):
    cfg = stock(RETINANET)
    cfg.model.bbox_head.test_cfg = dict(nms=dict(type="nms", iou_threshold=0.3))
    switch_on(cfg, box_voting=True)
    assert cfg.model.bbox_head.test_cfg.box_voting == dict(type="BoxVoting")
    assert cfg.model.bbox_head.test_cfg.nms.iou_threshold == 0.3
    assert "box_voting" not in cfg.model.test_cfg


def test_the_detector_of_a_semi_supervised_one(stock):
    cfg = stock(RETINANET)
    cfg.model = dict(type="SoftTeacher", detector=cfg.model)
    switch_on(cfg, box_voting=True)
    assert cfg.model.detector.test_cfg.box_voting == dict(type="BoxVoting")


@pytest.mark.parametrize("recipe", [FASTER, DINO])
def test_detections_that_are_not_voted_on(stock, recipe):
    cfg = stock(recipe)
    before = cfg.to_dict()
    message = r"not voted on: .* The heads that vote: YOLO"
    with pytest.raises(SwitchError, match=message):
        switch_on(cfg, box_voting=True)
    assert cfg.to_dict() == before


def test_twice_and_wrong(stock):
    cfg = stock(YOLOV8)
    switch_on(cfg, box_voting=True)
    with pytest.raises(SwitchError, match="has box_voting already"):
        switch_on(cfg, box_voting=True)
    for wrong in (dict(sigma=-1), dict(type="NMS")):
        with pytest.raises((ValueError, KeyError), match=r"sigma|NMS"):
            switch_on(stock(YOLOV8), box_voting=wrong)
