import math

import pytest
import torch
from mmdet.models.task_modules import (
    AnchorGenerator,
    MlvlPointGenerator,
    YOLOAnchorGenerator,
)
from mmengine.registry import MODELS
from torch import nn

from mmareaaware.analysis import (
    TrainingBoxes,
    area_report,
    count_priors,
    default_scope,
    read_training_boxes,
    suggest,
    summarise,
)
from tests.conftest import NUM_CLASSES, SIZE
from tests.semi import build, detector_config, semi_config

# One prior (4, 4) of stride 8; 4 × 4, 2 × 2 and 1 of strides 8, 16 and 32; the image.
BOXES = [[2.0, 2, 6, 6], [32, 32, 64, 64], [0, 0, 128, 128]]
PRIORS = [[1, 0, 0], [16, 4, 1], [256, 64, 16]]
TARGETS = [1, 10, 10]  # at most topk of them
SPARSE = dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES)


def training_boxes(boxes=BOXES, size=(SIZE, SIZE)) -> TrainingBoxes:
    """All on one image."""
    number = len(boxes)
    zeros = torch.zeros(number).long()
    return TrainingBoxes(
        torch.tensor(boxes).float(), zeros, zeros, torch.tensor([size]), ("thing",)
    )


def analyse(make_head, assigner=None, boxes=BOXES, **loss_cls):
    """A report on a YOLOv8 head."""
    loss_cls = dict(area_weight=dict(type="PowerAreaWeight")) | loss_cls
    options = dict(loss_cls=dict(type="AreaAwareBCELoss", **loss_cls))
    if assigner:
        options["train_cfg"] = dict(assigner=assigner)
    return area_report(training_boxes(boxes), make_head(**options))


def by_hand(boxes, levels) -> torch.Tensor:
    """Positions offset + stride · (i, j) strictly inside each box, one by one."""
    counts = []
    for left, top, right, bottom in boxes:
        counts.append(
            [
                sum(
                    left < offset + stride * i < right
                    and top < offset + stride * j < bottom
                    for i in range(math.ceil(100 / stride))  # width
                    for j in range(math.ceil(60 / stride))  # height
                )
                for offset, stride in levels
            ]
        )
    return torch.tensor(counts)


@pytest.mark.parametrize(
    ("generator", "levels"),
    [
        pytest.param(MlvlPointGenerator([8, 16]), [(4, 8), (8, 16)], id="points"),
        pytest.param(
            MlvlPointGenerator([8, 32], offset=0), [(0, 8), (0, 32)], id="YOLOX"
        ),
        pytest.param(
            AnchorGenerator(
                strides=[8, 16],
                ratios=[0.5, 1.0, 2.0],
                octave_base_scale=4,
                scales_per_octave=3,
            ),
            [(0, 8), (0, 16)],
            id="RetinaNet",
        ),
        pytest.param(
            AnchorGenerator(strides=[4], ratios=[1.0], scales=[8], use_box_type=True),
            [(0, 4)],
            id="box type",
        ),
        pytest.param(
            YOLOAnchorGenerator(
                strides=[32, 16], base_sizes=[[(9, 5), (4, 8)], [(3, 2), (7, 7)]]
            ),
            [(16, 32), (8, 16)],
            id="YOLOv3",
        ),
    ],
)
def test_positions_in_boxes(generator, levels):
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, 2, generator=random) * torch.tensor([100.0, 60.0])
    boxes = torch.cat([corners.min(1).values, corners.max(1).values], 1)
    boxes[0] = torch.tensor([8.0, 8, 24, 24])  # on positions: those are not inside
    boxes[1] = torch.tensor([50.0, 20, 50, 40])  # no area
    sizes = torch.tensor([[60, 100]]).expand(40, 2)
    expected = by_hand(boxes.tolist(), levels)
    assert torch.equal(count_priors(generator, boxes, sizes), expected)
    assert expected.any(0).all()


def test_positions_end_with_the_input():
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 100]])
    sizes = torch.tensor([[64, 32], [16, 20]])  # 20 px are 3 columns of stride 8
    counts = count_priors(MlvlPointGenerator([8]), boxes, sizes)
    assert counts.tolist() == [[32], [6]]


def test_sizes_priors_and_targets(make_head):
    report = analyse(make_head, SPARSE)
    assert report.size.tolist() == [0, 1, 2]  # 32 × 32 is medium
    assert report.strides.tolist() == [8, 16, 32]
    assert report.priors.tolist() == PRIORS
    assert report.targets.tolist() == TARGETS
    assert "min(10, priors inside)" in report.assumption


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        # φ is 32 / 4 cut to 4, 1, 1; the mean over the targets (4 + 10 + 10) / 21
        (dict(), [4 * 21 / 24, 21 / 24, 21 / 24]),
        (dict(normalize="none"), [4, 1, 1]),
        (dict(normalize="none", strength=0.5), [2.5, 1, 1]),
        # 2 - A / 128²
        (
            dict(normalize="none", area_weight=dict(type="BoxScaleWeight")),
            [2 - 1 / 1024, 2 - 1 / 16, 1],
        ),
    ],
    ids=["mean", "none", "strength", "box scale"],
)
def test_shares_in_the_loss(make_head, settings, factors):
    report = analyse(make_head, SPARSE, **settings)
    (weighting,) = report.weightings
    assert weighting.module == "loss_cls"
    torch.testing.assert_close(weighting.factors, torch.tensor(factors).float())
    assert report.shares(report.targets) == pytest.approx([1 / 21, 10 / 21, 10 / 21])
    parts = [t * f for t, f in zip(TARGETS, factors, strict=True)]
    expected = [part / sum(parts) for part in parts]
    assert report.loss_shares(weighting) == pytest.approx(expected)
    assert report.loss_factor(weighting) == pytest.approx(sum(parts) / 21)


def test_curves(make_head):
    sides = torch.tensor([4.0, 16, 32, 64])
    (weighting,) = analyse(make_head).weightings
    assert weighting.curve(sides).tolist() == [[4, 2, 1, 1]]
    weight = dict(type="BoxScaleWeight")
    (weighting,) = analyse(make_head, area_weight=weight).weightings
    assert weighting.curve(sides)[0, 3] == 2 - 0.25  # of 128²


def test_weights_that_need_more_than_boxes(make_head):
    weight = dict(type="AreaMismatchWeight")
    report = analyse(make_head, area_weight=weight)
    (weighting,) = report.weightings
    assert report.loss_shares(weighting) is None
    assert report.loss_factor(weighting) is None
    assert weighting.curve(torch.ones(3)) is None
    assert "AreaMismatchWeight(beta=0.75, max_area=9216)" in weighting.unknown
    assert "`pred_areas`" in weighting.unknown

    weight = dict(type="PyramidMembershipWeight", alpha=0.5, temperature=1)
    report = analyse(make_head, area_weight=weight)
    (weighting,) = report.weightings
    assert report.loss_shares(weighting) is None
    assert "level" in weighting.unknown
    # The scales are 32, 64 and 128: at 64 exp(-½ ln 2), 1, exp(-½ ln 2) over the mean
    curve = weighting.curve(torch.tensor([64.0]))
    parts = torch.tensor([[0.5**0.5], [1.0], [0.5**0.5]])
    torch.testing.assert_close(curve, 3 * parts / parts.sum())


def test_no_area_weight(make_head):
    assert analyse(make_head, SPARSE, area_weight=None).weightings == []


def test_other_task_aligned_assigners(make_head):
    assert analyse(make_head).targets.tolist() == TARGETS  # MMYOLO's, topk 10
    report = analyse(make_head, SPARSE | dict(topk2=3))
    assert report.targets.tolist() == [1, 3, 3]


def test_min_side_gives_candidates_and_no_priors(make_head):
    boxes = [[5.0, 5, 7, 7]]  # none; as 16 × 16 around (6, 6) 2 × 2 and 1
    report = analyse(make_head, SPARSE, boxes)
    assert report.candidates.tolist() == report.targets.tolist() == [0]
    assert report.shares(report.targets) == [0, 0, 0]
    report = analyse(make_head, SPARSE | dict(min_side=16), boxes)
    assert report.priors.tolist() == [[0, 0, 0]]
    assert report.candidates.tolist() == report.targets.tolist() == [5]


def test_a_model_without_priors():
    report = area_report(training_boxes(), nn.Linear(1, 1))
    assert report.priors.shape == (3, 0)
    assert report.targets.tolist() == [1, 1, 1]
    summary = summarise(report, suggest(report)[0])
    assert summary["strides"] == summary["sizes"]["all"]["priors"] == []


def test_the_student_of_a_semi_supervised_detector():
    model = build(semi_config())
    report = area_report(training_boxes(), model)
    assert report.strides.tolist() == [8, 16, 32]
    assert [w.module for w in report.weightings] == []
    loss = dict(type="AreaAwareBCELoss", area_weight=dict(type="PowerAreaWeight"))
    model = build(semi_config(detector_config(loss_cls=loss)))
    (weighting,) = area_report(training_boxes(), model).weightings
    assert weighting.module == "bbox_head.loss_cls"


def test_a_weight_of_what_priors_predict_is_not_known(make_head):
    assert analyse(make_head).weightings[0].factors is not None
    loss = dict(type="AreaAwareBCELoss", area_weight=dict(type="PowerAreaWeight"))
    head = make_head(loss_cls=loss, weigh_priors=True)
    (weighting,) = area_report(training_boxes(), head).weightings
    assert weighting.factors is None
    assert "each prior predicts" in weighting.unknown


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco", [4, 8, 16, 32, 64]),
        ("retinanet/retinanet_r50_fpn_1x_coco", [8, 16, 32, 64, 128]),
        ("atss/atss_r50_fpn_1x_coco", [8, 16, 32, 64, 128]),
    ],
    ids=["Faster R-CNN", "RetinaNet", "ATSS"],
)
def test_stock_detectors_of_mmdet(mmdet_config, name, strides):
    cfg = mmdet_config(name)
    data = read_training_boxes(cfg, num_images=4)
    cfg.model.backbone.update(depth=18, base_channels=4)
    cfg.model.neck.update(in_channels=[4, 8, 16, 32])
    with default_scope(cfg):
        report = area_report(data, MODELS.build(cfg.model))
    assert report.strides.tolist() == strides
    levels = [(0, stride) for stride in strides]
    boxes = data.boxes[:2]
    width = height = 800
    for box, priors in zip(boxes.tolist(), report.priors[:2].tolist(), strict=True):
        for (_, stride), number in zip(levels, priors, strict=True):
            columns = sum(box[0] < i < box[2] for i in range(0, width, stride))
            rows = sum(box[1] < i < box[3] for i in range(0, height, stride))
            assert number == columns * rows
    assert report.targets.tolist() == [1] * len(data.boxes)
    assert "same" in report.assumption
    assert report.weightings == []


def test_area_aware_detectors_of_mmdet(mmdet_config):
    cfg = mmdet_config("faster_rcnn/faster-rcnn_r50_fpn_1x_coco")
    data = read_training_boxes(cfg, num_images=4)
    cfg.model.backbone.update(depth=18, base_channels=4)
    cfg.model.neck.update(in_channels=[4, 8, 16, 32])
    cfg.model.rpn_head.update(
        type="AreaAwareRPNHead",
        area_weight=dict(type="StepAreaWeight", weights=(3, 2, 1)),
        normalize="none",
    )
    cfg.model.roi_head.bbox_head.update(
        type="AreaAwareShared2FCBBoxHead",
        area_weight=dict(type="PyramidMembershipWeight"),
    )
    with default_scope(cfg):
        report = area_report(data, MODELS.build(cfg.model))
    rpn, roi = report.weightings
    assert (rpn.module, roi.module) == ("rpn_head", "roi_head.bbox_head")
    assert rpn.factors.tolist() == [3 - size for size in report.size.tolist()]
    # Its levels are those of the RoIs
    assert "`strides`" in roi.unknown
    assert roi.curve(torch.ones(3)) is None


def test_summary(make_head):
    boxes = [*BOXES, [20.0, 20, 30, 30]]  # holds (28, 28) and (24, 24)
    report = analyse(make_head, SPARSE, boxes)
    summary = summarise(report, None)
    assert summary["images"] == 1
    assert summary["inputs"] == [dict(height=SIZE, width=SIZE, images=1)]
    assert summary["boxes_per_image"] == [4]
    assert summary["cut_off"] == 0.25
    small = summary["sizes"]["small"]
    assert small == dict(
        boxes=2, cut_off=0, share=0.5, priors=[1.0, 0.5, 0.0], without_prior=0.0
    )
    assert summary["sizes"]["all"]["boxes"] == 4
    assert summary["classes"] == [
        dict(name="thing", boxes=4, median_side=pytest.approx(10))
    ]
    edges, bins = summary["histogram"]["edges"], summary["histogram"]["bins"]
    filled = [(e, b["boxes"]) for e, b in zip(edges, bins, strict=False) if b["boxes"]]
    assert filled == [(4, 1), (pytest.approx(2**3.25), 1), (32, 1), (128, 1)]
