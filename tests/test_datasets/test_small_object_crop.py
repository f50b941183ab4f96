"""The crop has a small object in it, and is a random crop otherwise."""

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import RandomCrop
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.runner import set_random_seed

from mmareaaware.datasets import SmallObjectCrop

HEIGHT, WIDTH = 300, 400
CROP = (64, 48)  # width, height
# Two small ones, one of them at the border; a large one; one that is ignored
BOXES = [
    [100.5, 200, 110, 215.2],
    [390, 0, 400, 8],
    [150, 50, 250, 150],
    [10, 10, 20, 20],
]
IGNORED = 3


def image_of(boxes=BOXES, ignored=(IGNORED,)) -> dict:
    """Its pixels say where they are; a label is a box's number."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return dict(
        img=np.stack([rows, columns], axis=-1),
        gt_bboxes=HorizontalBoxes(
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        ),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.isin(np.arange(len(boxes)), ignored),
    )


def crop(results: dict, seed: int, transform=SmallObjectCrop, **options) -> dict:
    set_random_seed(seed)
    return transform(crop_size=CROP, allow_negative_crop=True, **options)(results)


def test_holds_a_small_object():
    seen, corners = [], set()
    for seed in range(60):
        results = crop(image_of(), seed, prob=1)
        assert results["img"].shape[:2] == CROP[::-1]
        top, left = results["img"][0, 0]
        boxes = results["gt_bboxes"].tensor.numpy() + [left, top, left, top]
        whole = [
            label
            for label, box in zip(results["gt_bboxes_labels"], boxes, strict=True)
            if np.allclose(box, BOXES[label], atol=1e-3)
        ]
        assert set(whole) & {0, 1}
        seen += whole
        if 0 in whole:
            corners.add((int(top), int(left)))
    assert min(seen.count(0), seen.count(1)) > 15
    assert len({top for top, _ in corners}) > 5
    assert len({left for _, left in corners}) > 5


@pytest.mark.parametrize(
    ("boxes", "ignored", "prob"),
    [([], (), 1), ([BOXES[2], BOXES[3]], (1,), 1), (BOXES, (IGNORED,), 0)],
)
def test_any_crop(boxes, ignored, prob):
    """Where there is no object to hold, or it is not to hold one."""
    tops, lefts = np.transpose(
        [
            crop(image_of(boxes, ignored), seed, prob=prob)["img"][0, 0]
            for seed in range(30)
        ]
    )
    assert len(set(tops)) > 20
    assert len(set(lefts)) > 20
    assert np.ptp(tops) > HEIGHT / 2
    assert np.ptp(lefts) > WIDTH / 2


def test_stock_crop_without_objects():
    results = crop(image_of([]), 3)
    expected = crop(image_of([]), 3, transform=RandomCrop)
    assert np.array_equal(results["img"], expected["img"])


def test_object_longer_than_the_crop():
    """The crop is within it."""
    boxes = [[50, 100, 350, 103]]
    for seed in range(10):
        results = crop(image_of(boxes, ignored=()), seed, prob=1)
        (box,) = results["gt_bboxes"].tensor.numpy()
        assert box[[0, 2]].tolist() == [0, CROP[0]]
        assert box[3] - box[1] == 3


def test_image_smaller_than_the_crop():
    results = image_of([[10, 10, 20, 20]], ignored=())
    results["img"] = results["img"][:30, :40]
    results = crop(results, 0, prob=1)
    assert results["img"].shape[:2] == (30, 40)
    assert results["gt_bboxes"].tensor.tolist() == [[10, 10, 20, 20]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(prob=2), r"prob must be in \[0, 1\], got 2"),
        (dict(max_area=0), "max_area must be above 0 px², got 0"),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(ValueError, match=message):
        SmallObjectCrop(crop_size=CROP, **options)
