"""Zones, views, quality and trust, each against a formula of the test's own."""

import cv2
import numpy as np
import pytest
import torch

from mmareaaware.models.dense_heads.box_trust import BoxTrust
from mmareaaware.models.semi import (
    DistributionSharpness,
    PseudoLabeller,
    PseudoLabels,
)
from tests.conftest import NUM_CLASSES, batch, features
from tests.semi import found, sample

SPARSE = dict(assigner=dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES))
BCE = dict(type="AreaAwareBCELoss")
BG = dict(type="BgPenaltyLoss", lambda_bg=2.0)


@pytest.mark.parametrize("autocast", [False, True])
def test_boxes_arrive_where_a_perspective_puts_them(autocast):
    generator = np.random.default_rng(0)
    weak = np.array([[0.5, 0, 17.3], [0, 0.5, 4.9], [0, 0, 1]])
    strong = np.array([[0.9, -0.3, 20], [0.25, 1.1, -9], [1e-4, 2e-4, 1]])
    low = generator.uniform(100, 400, (40, 2))
    boxes = np.concatenate([low, low + generator.uniform(5, 60, (40, 2))], 1)
    source, target = sample(homography=weak), sample(homography=strong)
    for view in (source, target):
        view.set_metainfo(dict(img_shape=(2000, 2000)))
    with torch.autocast("cpu", enabled=autocast):
        labels = PseudoLabeller(1).label([found(boxes, [0.9] * 40)], [source], [target])
    x, y = boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]]
    corners = np.stack([x, y], -1).reshape(1, -1, 2)
    moved = cv2.perspectiveTransform(corners, strong @ np.linalg.inv(weak))
    moved = moved.reshape(-1, 4, 2)
    expected = np.concatenate([moved.min(1), moved.max(1)], 1).clip(0, 2000)
    kept = (expected[:, 2:] - expected[:, :2] >= 2).all(1)
    assert kept.sum() > 20
    np.testing.assert_allclose(labels.boxes[:, 2:], expected[kept], atol=1e-3)


def test_zones():
    boxes = [[10, 10, 30, 30]] * 2 + [[50, 50, 80, 80], [-20, 3, 1, 40], [5, 5, 6, 40]]
    detections = found(boxes, [0.9, 0.6, 0.3, 0.9, 0.9], [0, 1, 1, 0, 0])
    labeller = PseudoLabeller(2)
    labeller.thresholds.high[:] = torch.tensor([0.5, 0.7])
    labels = labeller.label([detections], [sample()], [sample()])
    assert labels.boxes.tolist() == [[0, 0, 10, 10, 30, 30]]  # the others have no sides
    assert labels.scores.tolist() == pytest.approx([0.9])
    assert labels.ignored.tolist() == [[0, 10, 10, 30, 30], [0, 50, 50, 80, 80]]


def gradient(head, ignored):
    x = features()
    with torch.no_grad():
        scores, preds, dists = head(x)
    scores = [score.requires_grad_() for score in scores]
    losses = head.loss_by_feat(
        scores, preds, dists, torch.zeros(0, 6), [{}] * 2, ignored, BoxTrust()
    )
    (losses["loss_cls"] + losses["loss_bg"]).backward()
    return scores[0].grad  # of stride 8


def test_an_uncertain_object_gets_no_gradient_and_background_does(make_head):
    head = make_head(train_cfg=SPARSE, loss_cls=BCE, loss_bg=BG)
    detections = found([[24, 24, 72, 72]], [0.3])
    view = sample()
    labels = PseudoLabeller(1).label([detections] * 2, [view] * 2, [view] * 2)
    assert not len(labels.boxes)
    with_region = gradient(head, labels.ignored)
    inside = (slice(None), slice(None), slice(3, 9), slice(3, 9))
    assert not with_region[inside].any()
    without = gradient(head, None)
    assert (without[inside] > 0).all()
    with_region[inside] = without[inside]
    assert torch.equal(with_region, without)


@pytest.mark.parametrize("scores_as", ["weights", "targets"])
def test_what_a_box_counts(make_head, scores_as):
    samples = batch((6, 3))
    head = make_head(train_cfg=SPARSE, loss_cls=BCE).double()
    trust = torch.rand(9, generator=torch.Generator().manual_seed(0)).double()
    exact = torch.tensor([1.0, 0, 1, 0, 1, 1, 0, 1, 1]).double()
    with torch.no_grad():
        outputs = head([f.double() for f in features()])
    gt = samples["bboxes_labels"].double()
    matched = head.match(outputs, gt, 2)
    of_prior = trust[matched.box_index]
    score, w = matched.targets.score, torch.ones(matched.logits.shape).double()
    if scores_as == "weights":
        w[matched.positives] = of_prior
        given = BoxTrust(cls=trust, box=trust * exact)
        by_box = score * of_prior * exact[matched.box_index]
    else:
        score = score * of_prior
        given = BoxTrust(targets=trust, box=exact)
        by_box = score * exact[matched.box_index]
    logits = matched.logits.dense
    targets = torch.zeros_like(logits)
    targets[(*matched.positives, matched.targets.label)] = score
    p = logits.sigmoid()
    bce = -(targets * p.log() + (1 - targets) * (1 - p).log())
    least = torch.tensor(1000.0).double()
    losses = head.loss_by_feat(
        *outputs, gt, [{}] * 2, None, given._replace(least_sum=least)
    )
    expected = (w[..., None] * bce).sum() / 1000 * 2
    torch.testing.assert_close(losses["loss_cls"], expected)
    torch.testing.assert_close(losses["target_sum"], score.sum().clamp(min=1))
    assert 0 < losses["target_sum"] < least
    loss_bbox, _ = head._loss_box(matched, by_box, least)
    torch.testing.assert_close(losses["loss_bbox"], loss_bbox * 2)


def test_trust_with_a_dense_assigner_is_refused(make_head):
    samples = dict(batch((2, 1)), trust=BoxTrust(cls=torch.ones(3)))
    with pytest.raises(ValueError, match="SparseTaskAlignedAssigner"):
        make_head(loss_cls=BCE).loss(features(), samples)


def test_sharpness_of_a_target_distribution():
    rows = torch.full((3, 4, 16), -50.0)
    rows[0, :, 2:4] = torch.tensor([0.25, 0.75]).log()  # as the loss has its targets
    rows[1] = 0  # knows nothing
    rows[2, :, [1, 4]] = 0  # one or four
    boxes = torch.tensor([[0.0, 0, 44, 44], [0, 0, 120, 120], [0, 0, 40, 40]])
    passes = DistributionSharpness(max_spread=0.05)(rows, boxes, torch.full((3,), 8.0))
    assert passes.tolist() == [True, False, False]
    # of one or four: variance 2.25, of which 0.25 is the half bin's; √2 strides
    spread = 2**0.5 * 8 / 40
    for factor, passed in ((0.99, False), (1.01, True)):
        quality = DistributionSharpness(max_spread=spread * factor)
        assert quality(rows, boxes, torch.full((3,), 8.0))[2] == passed


@pytest.mark.parametrize("scores_as", ["weights", "targets"])
def test_trust_is_the_score_and_the_quality(scores_as):
    scores, exact = torch.tensor([0.9, 0.7]), torch.tensor([True, False])
    labels = PseudoLabels([], [], torch.zeros(2, 6), scores, exact, torch.zeros(0, 5))
    trust = PseudoLabeller(1, scores_as=scores_as).trust(labels, torch.tensor(3.0))
    given = {k: v.tolist() for k, v in trust._asdict().items() if v is not None}
    if scores_as == "weights":
        expected = dict(cls=scores.tolist(), box=[scores[0].item(), 0], least_sum=3)
    else:
        expected = dict(targets=scores.tolist(), box=[1, 0], least_sum=3)
    assert given == expected


def test_settings_reach_the_detections(monkeypatch):
    given = {}
    monkeypatch.setattr(
        "mmareaaware.models.semi.pseudo_labeller.detect",
        lambda *_, **settings: given.update(settings),
    )
    thresholds = dict(type="FixedThresholds", high=0.5, low=0.3)
    labeller = PseudoLabeller(1, thresholds, nms_iou=0.4, max_per_img=7, min_side=5.0)
    labeller.detect(None, None)
    assert given == dict(score_thr=0.3, nms_iou=0.4, max_per_img=7, box_quality=None)
    boxes = [[10, 10, 14.5, 30], [10, 10, 15.5, 30]]
    labels = labeller.label([found(boxes, [0.9] * 2)], [sample()], [sample()])
    assert labels.boxes[:, 2:].tolist() == boxes[1:]


def test_boxes_are_clipped_to_the_view_that_they_were_found_in():
    strong = sample(homography=[[1, 0, 50], [0, 1, 0], [0, 0, 1]])
    detections = found([[-40, 10, 30, 30]], [0.9])
    labels = PseudoLabeller(1).label([detections], [sample()], [strong])
    assert labels.boxes.tolist() == [[0, 0, 50, 10, 80, 30]]


def test_a_score_of_the_threshold_and_a_side_of_min_side_are_enough():
    labeller = PseudoLabeller(1)
    labeller.thresholds.high[:] = 0.5
    detections = found([[10, 10, 12, 30]], [0.5])
    labels = labeller.label([detections], [sample()], [sample()])
    assert labels.boxes.tolist() == [[0, 0, 10, 10, 12, 30]]


@pytest.mark.parametrize(
    ("sides", "size", "passes"),
    [
        ([0, 2], [200, 20], True),
        ([0, 2], [20, 200], False),
        ([1, 3], [200, 20], False),
        ([0], [100, 20], True),
    ],
)
def test_sharpness_is_measured_along_each_side(sides, size, passes):
    rows = torch.full((1, 4, 16), -50.0)
    rows[0, :, 3] = 0  # certain
    rows[0, sides, 3] = -50
    for one_or_four in (1, 4):  # a spread of √2 · 8 px
        rows[0, sides, one_or_four] = 0
    quality = DistributionSharpness(max_spread=0.06)
    box = torch.tensor([[0.0, 0, *size]])
    assert quality(rows, box, torch.tensor([8.0])).tolist() == [passes]
