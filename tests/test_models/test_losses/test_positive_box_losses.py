import pytest
import torch
from mmengine.registry import MODELS

from mmareaaware.models.losses import PositiveBoxLosses
from mmareaaware.models.losses.overlaps import complete_overlap

REG_MAX = 16
BINS = torch.arange(REG_MAX, dtype=torch.float64)


def inputs(number=60):
    """Distributions, distances in strides, some beyond the bins, and weights."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    dists = rand(number, 4, REG_MAX) * 8 - 4
    targets = rand(number, 4) * 18 - 1
    return dists.requires_grad_(), targets, rand(number)


def read(dists, targets, weight, bins=BINS, unit=8.0):
    """Of boxes in px, at a stride of 8."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        sides = dists.softmax(-1) @ bins
    overlap = complete_overlap(sides * unit, targets * unit)
    return PositiveBoxLosses.read(dists, targets, overlap, unit, weight, bins)


def stock(dists, targets, weight):
    """The losses as the modules of a stock YOLOv8 compute them, without gains."""
    loss_bbox = MODELS.build(
        dict(
            type="mmyolo.IoULoss",
            iou_mode="ciou",
            bbox_format="xyxy",
            reduction="sum",
            return_iou=False,
        )
    )
    loss_dfl = MODELS.build(dict(type="mmdet.DistributionFocalLoss", reduction="sum"))
    signs = torch.tensor([-1.0, -1, 1, 1])
    boxes = (dists.softmax(-1) @ BINS) * signs
    return (
        loss_bbox(boxes, targets * signs, weight=weight),
        loss_dfl(
            dists.flatten(0, 1),
            targets.clamp(0, REG_MAX - 1 - 0.01).flatten(),
            weight=weight.repeat_interleave(4),
        ),
    )


@pytest.mark.parametrize("gains", [(1.0, 0.0), (0.0, 1.0), (7.5, 0.375)])
@pytest.mark.parametrize("number", [60, 1, 0])
def test_equals_the_stock_losses(number, gains):
    dists, targets, weight = inputs(number)
    results = []
    for losses in (stock, read):
        ciou, dfl = losses(dists, targets, weight)
        total = gains[0] * ciou + gains[1] * dfl
        (gradient,) = torch.autograd.grad(total, dists)
        results.append((ciou, dfl, gradient))
    for found, expected in zip(*reversed(results), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_gradcheck_of_the_distribution_focal_loss():
    dists, targets, weight = inputs(5)
    assert torch.autograd.gradcheck(lambda d: read(d, targets, weight).dfl, dists)


def test_weights_count_each_positive():
    dists, targets, weight = inputs()
    both = read(dists, targets, weight)
    each = [
        read(d[None], t[None], w[None])
        for d, t, w in zip(dists, targets, weight, strict=True)
    ]
    torch.testing.assert_close(both.ciou, sum(one.ciou for one in each))
    torch.testing.assert_close(both.dfl, sum(one.dfl for one in each))


def test_not_a_number_is_seen():
    dists, targets, weight = inputs()
    spoilt = dists.detach().clone()
    spoilt[3, 1, 2] = torch.nan
    assert all(x.isnan() for x in read(spoilt, targets, weight))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_leaves_it_in_float32(dtype):
    dists, targets, weight = (x.detach().float() for x in inputs())
    exact = read(dists, targets, weight, BINS.float())
    with torch.autocast("cpu", dtype):
        found = read(dists, targets, weight, BINS.float())
    assert all(map(torch.equal, found, exact))


def test_a_ciou_below_minus_one_has_no_gradient():
    dists = torch.zeros(1, 4, REG_MAX).double()
    dists[0, [0, 2], 0] = dists[0, [1, 3], -1] = 9  # narrow and high; far off, flat
    dists.requires_grad_()
    targets = torch.tensor([[-200.0, 0, 240, 0.1]]).double()
    for losses in (stock, read):
        ciou, _ = losses(dists, targets, torch.ones(1).double())
        assert ciou.item() == 2
        (gradient,) = torch.autograd.grad(ciou, dists)
        assert not gradient.any()
