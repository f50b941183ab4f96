import torch
from hypothesis import given
from hypothesis import strategies as st

from mmareaaware.models import PriorGrid
from tests.test_models.test_task_modules.test_sparse_task_aligned_assigner import (
    priors_of,
)

SIZES, STRIDES = [(8, 12), (4, 6), (2, 3)], (8, 16, 32)  # an input of 64 × 96 px


@given(seed=st.integers(0, 1000), num_imgs=st.integers(1, 3), number=st.integers(0, 6))
def test_covered_priors_are_those_strictly_inside_a_box(seed, num_imgs, number):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(number, 2, generator=generator) * 120 - 10
    side = torch.exp(torch.rand(number, 2, generator=generator) * 5)
    boxes = torch.cat([centre - side / 2, centre + side / 2], 1)
    if seed % 2:
        boxes = (boxes / 4).round() * 4  # sides that go through priors
    if number > 2:
        boxes[1] = torch.nan
        boxes[2] = boxes[2, [2, 3, 0, 1]]  # inside out
    images = torch.randint(num_imgs, (number,), generator=generator)
    priors = priors_of(SIZES, STRIDES)
    x, y = priors[:, 0], priors[:, 1]
    expected = torch.zeros(num_imgs, len(priors), dtype=torch.bool)
    for image, (left, top, right, bottom) in zip(images, boxes, strict=True):
        expected[image] |= (x > left) & (x < right) & (y > top) & (y < bottom)
    found = PriorGrid.from_priors(priors).covered(boxes, images, num_imgs)
    assert torch.equal(found, expected)
