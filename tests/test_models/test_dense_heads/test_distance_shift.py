"""Priors of a YOLOv8 that predict boxes they lie outside of."""

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict

from mmareaaware.models.dense_heads.distance_shift import STEP_DOWN
from tests.conftest import NUM_CLASSES, batch, features
from tests.test_models.test_dense_heads.test_sparse_path import assert_paths_agree

ASSIGNER = dict(
    type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES, min_side=16.0
)
SPARSE = dict(assigner=ASSIGNER)
MODULES = ("YOLOv8HeadModule", "YOLO11HeadModule")


def module_of(module_type):
    return dict(
        type=module_type,
        num_classes=NUM_CLASSES,
        in_channels=[16, 32, 64],
        featmap_strides=[8, 16, 32],
    )


def distances_of(head):
    """Of all levels, (B, 4, N), as the network predicts, and as it is trained."""
    with torch.no_grad():
        train = torch.cat([d.flatten(2) for d in head.train()(features())[1]], 2)
        _, predicted = head.eval()(features())[:2]
    return torch.cat([d.flatten(2) for d in predicted], 2), train


@pytest.mark.parametrize("shift", [1, 3])
def test_the_same_logits_are_distances_of_as_much_less(make_head, shift):
    stock = distances_of(make_head(train_cfg=SPARSE))
    shifted = distances_of(make_head(train_cfg=SPARSE, distance_shift=shift))
    for ours, theirs in zip(shifted, stock, strict=True):
        torch.testing.assert_close(ours, theirs - shift)


@pytest.mark.parametrize("module", MODULES)
def test_a_checkpoint_without_a_shift_keeps_its_boxes(make_head, module):
    settings = dict(train_cfg=SPARSE, head_module=module_of(module))
    stock = make_head(**settings)
    head = make_head(**settings, distance_shift=2, seed=1)
    with torch.no_grad():  # the last bins, which are lost, are not used
        for level in stock.head_module.reg_preds:
            level[-1].bias.view(4, -1)[:, -2:] = -50.0
    result = load_state_dict(head, stock.state_dict(), strict=True)
    assert result is None
    for ours, theirs in zip(distances_of(head), distances_of(stock), strict=True):
        assert 0 < (ours - theirs).abs().max() < 0.01 * theirs.max()
    expected = stock.head_module.cls_preds[0][-1].weight
    assert torch.equal(head.head_module.cls_preds[0][-1].weight, expected)


def test_new_bins_begin_below_the_first(make_head):
    stock, head = make_head(), make_head(distance_shift=2, seed=1)
    head.load_state_dict(stock.state_dict())
    for level, of_stock in zip(
        head.head_module.reg_preds, stock.head_module.reg_preds, strict=True
    ):
        ours = level[-1].bias.view(4, -1)
        theirs = of_stock[-1].bias.view(4, -1)
        assert torch.equal(ours[:, 2:], theirs[:, :-2])
        steps = torch.tensor([2, 1]) * STEP_DOWN
        torch.testing.assert_close(ours[:, :2], theirs[:, :1] - steps)


def test_its_own_checkpoint_is_loaded_as_it_is(make_head):
    head, other = (make_head(distance_shift=1, seed=s) for s in (0, 1))
    state = {k: v.clone() for k, v in head.state_dict().items()}
    other.load_state_dict(state)
    for name, value in other.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("shift", [0, 2])
def test_a_checkpoint_of_another_shift_is_refused(make_head, shift):
    state = make_head(distance_shift=1).state_dict()
    message = f"distance_shift=1 and the head has {shift}: set bbox_head"
    with pytest.raises(ValueError, match=message):
        load_state_dict(make_head(distance_shift=shift), state)


def test_without_a_shift_the_state_is_that_of_stock(make_head):
    stock = make_head("YOLOv8Head").state_dict()
    assert list(make_head().state_dict()) == list(stock)


@pytest.mark.parametrize("boxes", [(25, 3), (7, 0), (0, 0)])
def test_sparse_equals_dense(make_head, boxes):
    assert_paths_agree(make_head, batch(boxes), distance_shift=1)


def test_a_prior_outside_a_box_learns_to_find_it(make_head):
    """A box of 4 px between four priors of stride 8: each of them is half outside."""
    box = torch.tensor([[0, 1, 62.0, 62, 66, 66]])
    found = {}
    for shift in (0, 1):
        by_iou = dict(assigner=ASSIGNER | dict(use_ciou=False))
        head = make_head(train_cfg=by_iou, distance_shift=shift)
        dists = [torch.zeros(1, n * n, 4, 16, requires_grad=True) for n in (16, 8, 4)]
        scores = [torch.zeros(1, NUM_CLASSES, n, n) for n in (16, 8, 4)]
        optimizer = torch.optim.Adam(dists, lr=0.3)
        with torch.no_grad():  # half a stride to each side
            dists[0][..., shift : shift + 2] = 4.0
        for _ in range(150):
            preds = [
                (d.softmax(-1) @ head.head_module.proj).mT.reshape(1, 4, n, n)
                for d, n in zip(dists, (16, 8, 4), strict=True)
            ]
            losses = head.loss_by_feat(scores, preds, dists, box, [{}])
            optimizer.zero_grad()
            (losses["loss_bbox"] + losses["loss_dfl"]).backward()
            optimizer.step()
        matched = head.match((scores, preds, dists), box, 1)
        found[shift] = matched.overlap.iou.max()
    assert found[1] > 0.8
    assert found[0] < 0.6


@pytest.mark.parametrize("value", [-1, 15, 0.5, True])
def test_wrong_values_are_named(make_head, value):
    with pytest.raises(ValueError, match="distance_shift must be a whole number"):
        make_head(distance_shift=value)
