"""Priors inside ignored boxes are as if they were not there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from mmareaaware.models import SparseTargets
from mmareaaware.models.boxes_of_images import flat_ignored
from mmareaaware.models.losses import PriorMaps
from tests.conftest import (
    NUM_CLASSES,
    SIZE,
    STRIDES,
    batch,
    features,
    ground_truth,
    head_config,
)

SPARSE = dict(assigner=dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES))
POWER = dict(type="PowerAreaWeight")


def build(**settings):
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(head_config(**settings))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return head.double().train()


def centres() -> torch.Tensor:
    """Of all priors, (N, 2)."""
    rows = []
    for stride in STRIDES:
        steps = (torch.arange(SIZE // stride) + 0.5) * stride
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        rows.append(torch.stack([x, y], -1).flatten(0, 1))
    return torch.cat(rows)


def inside(ignored: torch.Tensor, num_imgs: int) -> torch.Tensor:
    """Priors strictly inside an ignored box, one box at a time, (B, N)."""
    points = centres()
    result = torch.zeros(num_imgs, len(points), dtype=torch.bool)
    for image, *box in ignored.tolist():
        low, high = torch.tensor(box).split(2)
        result[int(image)] |= ((points > low) & (points < high)).all(1)
    return result


def losses_and_grads(head, boxes, ignored, num_imgs):
    """Losses, and gradients with respect to the maps of the last convolutions."""
    x = [f.double() for f in features(num_imgs)]
    with torch.no_grad():
        scores, preds, dists = head(x)
    leaves = [t.requires_grad_() for t in (*scores, *dists)]
    if not head._is_sparse:  # the boxes are decoded with a gradient
        bins = torch.arange(16.0).double()
        preds = [
            (d.softmax(-1) @ bins).transpose(1, 2).reshape(p.shape)
            for d, p in zip(dists, preds, strict=True)
        ]
    losses = head.loss_by_feat(
        scores, preds, dists, boxes.double(), [{}] * num_imgs, ignored
    )
    sum(v for k, v in losses.items() if "loss" in k).backward()
    return losses, [leaf.grad for leaf in leaves]


def without(head, removed: torch.Tensor, dropped: list):
    """The head, taking away priors (B, N) after the assignment, positive ones not.

    All images become one, of the priors that are left. Priors that were assigned to a
    box and have next to no target are background as everywhere else; their targets are
    appended to ``dropped``.
    """
    match = head.match

    def match_the_rest(*args):
        matched = match(*args)
        targets = matched.targets
        is_positive = targets.score >= 1e-6
        kept = ~removed
        image, prior = matched.positives
        kept[image[is_positive], prior[is_positive]] = True
        is_left = kept[matched.positives]
        dropped.append(float(targets.score[~is_left].sum()))
        image, prior, label, score = (values[is_left] for values in targets)
        number = kept.flatten().cumsum(0).view_as(kept) - 1
        points = matched.priors.points.expand(*kept.shape, 4)[kept]
        return matched._replace(
            priors=matched.priors._replace(points=points),
            logits=PriorMaps.of(matched.logits.dense[kept][None]),
            dists=PriorMaps.of(matched.dists.dense[kept][None]),
            targets=SparseTargets(
                torch.zeros_like(image), number[image, prior], label, score
            ),
            boxes=matched.boxes[is_left],
            pred_boxes=matched.pred_boxes[is_left],
            overlap=matched.overlap and matched.overlap.at(is_left),
        )

    head.match = match_the_rest
    return head


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    regions=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
    assigner=st.sampled_from([{}, dict(train_cfg=SPARSE)]),
    loss_cls=st.sampled_from(
        [
            None,
            dict(type="AreaAwareBCELoss"),
            dict(type="AreaAwareBCELoss", area_weight=POWER, focal_gamma=1.5),
            dict(
                type="AreaAwareBCELoss",
                area_weight=dict(type="PyramidMembershipWeight"),
                class_weight=[0.5, 1, 2, 1, 0.5],
                margin=[0.1, 0.2, 0.3, 0.4, 0.5],
            ),
        ]
    ),
    mode=st.sampled_from(["max", "focal"]),
    normalizer=st.sampled_from(["positives", "background"]),
)
def test_ignoring_is_removing(
    boxes, regions, seed, assigner, loss_cls, mode, normalizer
):
    num_imgs = len(boxes)
    options = dict(
        loss_bg=dict(type="BgPenaltyLoss", mode=mode, normalizer=normalizer),
        **assigner,
        **({} if loss_cls is None else dict(loss_cls=loss_cls)),
    )
    gt = ground_truth(boxes, seed)
    ignored = ground_truth(regions[:num_imgs], seed + 1)[:, [0, 2, 3, 4, 5]]
    losses, grads = losses_and_grads(build(**options), gt, ignored, num_imgs)
    dropped = []
    rest = without(build(**options), inside(ignored, num_imgs), dropped)
    expected, expected_grads = losses_and_grads(rest, gt, None, num_imgs)
    # mmdet's loss has float32 in it
    exactness = (1e-6 if loss_cls is None else 1e-9) + 10 * sum(dropped)
    del losses["num_pos"], expected["num_pos"]
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=exactness, atol=1e-12)
    for grad, value in zip(grads, expected_grads, strict=True):
        scale = float(value.abs().max())
        torch.testing.assert_close(
            grad, value, rtol=exactness, atol=exactness * scale + 1e-12
        )


NO_BOXES = [
    None,
    torch.zeros(0, 5),
    [None, None],
    [InstanceData(bboxes=torch.zeros(0, 4)), None],
    torch.tensor([[0, 9.0, 9, 9, 9], [1, 50, 50, 40, 90], [1, 0, 0, torch.nan, 9]]),
]


@pytest.mark.parametrize("nothing", NO_BOXES, ids=range(5))
@pytest.mark.parametrize(
    "assigner", [{}, dict(train_cfg=SPARSE)], ids=["dense", "sparse"]
)
def test_without_ignored_boxes_nothing_changes_by_a_bit(make_head, assigner, nothing):
    settings = dict(
        loss_cls=dict(type="AreaAwareBCELoss", area_weight=POWER),
        loss_bg=dict(type="BgPenaltyLoss"),
        **assigner,
    )
    results = []
    for ignored in (None, nothing):
        head = make_head(**settings)
        samples = batch((7, 2))
        losses = head.loss_by_feat(*head(features()), *samples.values(), ignored)
        sum(v for k, v in losses.items() if "loss" in k).backward()
        results.append((losses, [p.grad for p in head.parameters()]))
    (expected, expected_grads), (losses, grads) = results
    assert all(torch.equal(losses[k], v) for k, v in expected.items())
    assert all(map(torch.equal, grads, expected_grads))


@pytest.mark.parametrize("loss_bg", [None, dict(type="BgPenaltyLoss")])
def test_an_ignored_object_is_not_pushed_down(make_head, loss_bg):
    """An unlabelled object gets a gradient outside of an ignored box, inside none."""
    settings = dict(
        train_cfg=SPARSE, loss_cls=dict(type="AreaAwareBCELoss"), loss_bg=loss_bg
    )
    region = torch.tensor([[1, 20.0, 20, 90, 70]])
    is_inside = inside(region, 2)
    grads = []
    for ignored in (None, region):
        head = make_head(**settings)
        scores, preds, dists = head(features())
        for score in scores:
            score.retain_grad()
        losses = head.loss_by_feat(
            scores, preds, dists, *batch((5, 0)).values(), ignored
        )
        (losses["loss_cls"] + losses.get("loss_bg", 0)).backward()
        grads.append(torch.cat([s.grad.flatten(2) for s in scores], 2).transpose(1, 2))
    without_box, with_box = grads
    assert (without_box[is_inside] > 0).all()
    assert (with_box[is_inside] == 0).all()
    assert torch.equal(with_box[~is_inside], without_box[~is_inside])


def test_ignored_boxes_come_by_both_ways(make_head):
    settings = dict(train_cfg=SPARSE, loss_bg=dict(type="BgPenaltyLoss"))
    samples = batch((5, 2))
    plain = make_head(**settings).loss(features(), samples)
    samples["bboxes_ignored"] = torch.tensor(
        [[0, 10.0, 10, 60, 60], [1, 0, 0, 128, 128]]
    )
    fast = make_head(**settings).loss(features(), samples)
    assert fast["loss_bg"] != plain["loss_bg"]

    from mmdet.structures import DetDataSample

    instances = []
    gt, ignored = samples["bboxes_labels"], samples["bboxes_ignored"]
    for i in range(2):
        sample = DetDataSample(metainfo=dict(batch_input_shape=(SIZE, SIZE)))
        mine = gt[gt[:, 0] == i]
        sample.gt_instances = InstanceData(bboxes=mine[:, 2:], labels=mine[:, 1])
        sample.ignored_instances = InstanceData(bboxes=ignored[ignored[:, 0] == i, 1:])
        instances.append(sample)
    slow = make_head(**settings).loss(features(), instances)
    assert all(torch.equal(slow[k], v) for k, v in fast.items())


def test_a_loss_that_reduces_cannot_ignore(make_head):
    loss_cls = dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True, reduction="sum")
    head = make_head(loss_cls=loss_cls)
    samples = batch((5, 2))
    head.loss(features(), samples)
    samples["bboxes_ignored"] = torch.tensor([[0, 10.0, 10, 60, 60]])
    with pytest.raises(ValueError, match=r"CrossEntropyLoss .*reduction='none'"):
        head.loss(features(), samples)


def test_the_probe_does_not_hear_of_ignored_priors(make_head):
    from mmareaaware.engine.hooks.classification_probe import ClassificationProbe

    samples = batch((5, 2))
    samples["bboxes_ignored"] = torch.tensor([[0, 0.0, 0, SIZE, SIZE]])
    numbers = []
    for assigner in ({}, dict(train_cfg=SPARSE)):
        head = make_head(loss_cls=dict(type="AreaAwareBCELoss"), **assigner)
        probe = ClassificationProbe(head.loss_cls)
        losses = head.loss(features(), samples)
        _, num_fg, _, num_bg = probe.sums.tolist()
        assert num_fg <= losses["num_pos"]
        numbers.append(num_bg)
    assert max(numbers) <= len(centres())  # of the second image only


def test_images_without_ignored_boxes_come_before_others():
    boxes = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    some, none = InstanceData(bboxes=boxes), InstanceData(bboxes=boxes[:0])
    images, flat = flat_ignored([None, none, some])
    assert images.tolist() == [2, 2]
    assert torch.equal(flat, boxes)
    assert flat_ignored([None, none]) is None
