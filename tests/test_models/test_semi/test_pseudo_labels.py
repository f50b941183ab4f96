"""Zones, views, thresholds and trust, each against a formula of the test's own."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmareaaware.models.dense_heads.box_trust import BoxTrust
from mmareaaware.models.semi import (
    ClassCountThresholds,
    DistributionSharpness,
    F1Thresholds,
    PseudoLabeller,
)
from tests.conftest import NUM_CLASSES, batch, features
from tests.semi import sample, truth

SPARSE = dict(assigner=dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES))
BCE = dict(type="AreaAwareBCELoss")
BG = dict(type="BgPenaltyLoss", lambda_bg=2.0)


def found(boxes, scores, labels=None) -> InstanceData:
    scores = torch.tensor(scores)
    labels = [0] * len(scores) if labels is None else labels
    return InstanceData(
        bboxes=torch.tensor(boxes).float().view(-1, 4),
        scores=scores,
        labels=torch.tensor(labels).long(),
        is_exact=torch.ones(len(scores), dtype=torch.bool),
    )


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


def test_as_many_boxes_as_labelled():
    rule = ClassCountThresholds(decay=0.0, min_high=0.2, max_high=0.95)
    rule.set_num_classes(3)
    scores = [0.91, 0.81, 0.71, 0.61, 0.85]
    unlabelled = [found([[0, 0, 9, 9]] * 5, scores, [0, 0, 0, 0, 2]), found([], [])]
    labelled = [truth(0, torch.Generator()) for _ in range(2)]
    labelled[0] = found([[0, 0, 9, 9]] * 3, [1.0] * 3, [0, 0, 1])
    rule.update(unlabelled, labelled, list)
    # two boxes of class 0 on two images; of class 1 nothing was found; no class 2
    assert rule.high.tolist() == pytest.approx([0.72, 0.2, 0.95])


def test_thresholds_follow_f1():
    rule = F1Thresholds(high=0.5, momentum=0.005, interval=2)
    rule.set_num_classes(3)
    calls = []

    def detect():
        calls.append(1)
        boxes = [[0, 0, 20, 20], [50, 50, 70, 70], [0, 40, 9, 60]]
        return [found(boxes, [0.9, 0.8, 0.3], [0, 0, 0])]

    boxes = [[0, 0, 20, 20], [30, 0, 50, 20], [60, 0, 80, 20]]
    labelled = [found(boxes, [1.0] * 3, [0, 0, 1])]
    rule.update([], labelled, detect)
    f1 = 2 * 1 / (2 + 2)  # one of two detections is right, one of two boxes found
    expected = [0.995 * 0.5 + 0.005 * (0.1 + 0.8 * f) for f in (f1, 0)]
    assert rule.high.tolist() == pytest.approx([*expected, 0.5])
    rule.update([], labelled, detect)
    assert len(calls) == 1


def test_thresholds_that_follow_f1_stay_within_their_limits():
    rule = F1Thresholds(high=0.5, min_high=0.3, max_high=0.7, momentum=1.0)
    rule.set_num_classes(2)
    right = found([[0, 0, 20, 20]], [0.9])  # aims at 0.9, and the missed class at 0.1
    labelled = found([[0, 0, 20, 20], [30, 0, 50, 20]], [1.0] * 2, [0, 1])
    rule.update([], [labelled], lambda: [right])
    assert rule.high.tolist() == pytest.approx([0.7, 0.3])
