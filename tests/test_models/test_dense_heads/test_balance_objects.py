"""Objects of few positives in the box losses of a YOLOv8."""

import pytest
import torch

from tests.conftest import NUM_CLASSES, batch, features
from tests.test_models.test_dense_heads.test_area_aware_yolov8_head import Weights

SPARSE = dict(assigner=dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES))
INVERSE_SIDE = dict(type="PowerAreaWeight", min_weight=0.0, max_weight=99.0)


def weights_in_boxes(head, samples):
    """Those that the box losses get, and what they were made of."""
    del head.loss_bbox, head.loss_dfl
    head.loss_bbox, head.loss_dfl = Weights(), Weights()
    outputs = head(features())
    head.loss_by_feat(*outputs, *samples.values())
    assert torch.equal(head.loss_dfl.seen, head.loss_bbox.seen.repeat_interleave(4))
    matched = head.match(outputs, samples["bboxes_labels"], 2)
    return head.loss_bbox.seen, matched.targets.score.double(), matched.box_index


@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
def test_formula(make_head, balance):
    head = make_head(balance_objects=balance, train_cfg=SPARSE)
    seen, targets, of_box = weights_in_boxes(head, batch((25, 3)))
    is_same = (of_box[:, None] == of_box).double()
    totals = is_same @ targets  # of the object of each positive
    assert totals.std() > 0.01
    expected = targets * totals.clamp(min=1e-6) ** -balance
    expected *= targets.sum() / expected.sum()
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-6)


def test_at_one_all_objects_count_the_same(make_head):
    head = make_head(balance_objects=1.0, train_cfg=SPARSE)
    seen, targets, of_box = weights_in_boxes(head, batch((25, 3)))
    has_target = [i for i in of_box.unique() if targets[of_box == i].sum() > 1e-4]
    assert len(has_target) > 5
    of_objects = torch.stack([seen[of_box == i].sum() for i in has_target])
    torch.testing.assert_close(
        of_objects, of_objects[:1].expand(len(has_target)), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(seen.sum(), targets.sum(), rtol=1e-5, atol=0)


def test_area_weights_come_on_top(make_head):
    area = dict(type="AreaAwareBCELoss", area_weight=INVERSE_SIDE)
    samples, products = batch((25, 3)), []
    for balance in (0.5, 0.0):
        for weigh_boxes in (True, False):
            head = make_head(
                loss_cls=area,
                weigh_boxes=weigh_boxes,
                balance_objects=balance,
                train_cfg=SPARSE,
            )
            products.append(weights_in_boxes(head, samples)[0])
    both, balanced, weighed, plain = products
    torch.testing.assert_close(both * plain, balanced * weighed)


@pytest.mark.parametrize("boxes", [(0, 0), (7, 0)])
def test_all_or_nothing_ignored_is_finite(make_head, boxes):
    head = make_head(balance_objects=1.0, train_cfg=SPARSE)
    samples = batch(boxes)
    x = [f.requires_grad_() for f in features()]
    ignored = torch.tensor([[0.0, -1e3, -1e3, 1e3, 1e3]])
    losses = head.loss_by_feat(*head(x), *samples.values(), ignored)
    sum(v for k, v in losses.items() if "loss" in k).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_a_dense_assigner_is_refused(make_head):
    with pytest.raises(ValueError, match=r"balance_objects=0\.5 needs an assigner"):
        make_head(balance_objects=0.5)
    assert make_head(balance_objects=0.5, train_cfg=None).balance_objects == 0.5


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_wrong_values_are_named(make_head, value):
    with pytest.raises(ValueError, match="balance_objects must be in"):
        make_head(balance_objects=value)
