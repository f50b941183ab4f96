import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmyolo.models.losses import bbox_overlaps

from mmareaaware.models.losses import box_overlaps
from mmareaaware.models.losses.overlaps import (
    ciou_gradient,
    complete_overlap,
    sides_of,
)


def pairs(seed=0, number=200, dtype=torch.float32):
    """Boxes that are apart, overlap, lie in each other, are equal, have no area."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.exp(torch.rand(2, number, 2, generator=generator) * 6)
    centre = torch.rand(2, number, 2, generator=generator) * 300
    centre[1, ::2] = centre[0, ::2] + size[0, ::2] * 0.3
    boxes = torch.cat([centre - size / 2, centre + size / 2], -1).to(dtype)
    boxes[1, 3] = boxes[0, 3]
    boxes[0, 5, 2:] = boxes[0, 5, :2]
    boxes[1, 7, 2] = boxes[1, 7, 0]
    return boxes


@pytest.mark.parametrize("mode", ["iou", "ciou"])
@given(seed=st.integers(0, 1000))
def test_equals_mmyolos_bit_for_bit(mode, seed):
    boxes, targets = pairs(seed)
    expected = bbox_overlaps(boxes, targets, mode, bbox_format="xyxy")
    found = box_overlaps(sides_of(boxes), sides_of(targets), mode)
    assert torch.equal(found.clamp(-1, 1), expected)


@given(seed=st.integers(0, 1000))
def test_gradient_is_that_of_autograd(seed):
    boxes, targets = pairs(seed, dtype=torch.float64)
    distinct = (boxes != targets).all(1)  # or they are at a kink
    distinct[[3, 5, 7]] = False  # without an area
    boxes, targets = boxes[distinct].requires_grad_(), targets[distinct]
    overlap = bbox_overlaps(boxes, targets, "ciou", bbox_format="xyxy")
    is_inside = overlap > -1  # MMYOLO clamps
    (expected,) = torch.autograd.grad(overlap.sum(), boxes)
    sides, target_sides = sides_of(boxes.detach()), sides_of(targets)
    found = ciou_gradient(complete_overlap(sides, target_sides)) * torch.tensor(
        [-1, -1, 1, 1]
    )
    # MMYOLO's goes through the epsilon that keeps heights from being 0
    torch.testing.assert_close(
        found[is_inside], expected[is_inside], rtol=1e-5, atol=1e-7
    )


def test_gradient_is_finite_without_area():
    sides = torch.zeros(3, 4)
    sides[1, 2] = 5
    targets = torch.rand(3, 4)
    targets[2] = 0
    gradient = ciou_gradient(complete_overlap(sides, targets))
    assert gradient.isfinite().all()
