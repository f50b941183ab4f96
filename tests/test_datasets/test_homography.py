"""Where a box is drawn by the pipeline, there its recorded homography takes it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.runner import set_random_seed

from tests.boxes import project

NUM_BOXES = 6


def image_with_boxes(height: int, width: int, rng) -> dict:
    """As the annotations are loaded; the label of a box is its number."""
    corners = np.sort(rng.uniform(0, 1, (NUM_BOXES, 2, 2)), axis=1)
    boxes = (corners * [width, height]).reshape(NUM_BOXES, 4)
    return dict(
        img=rng.integers(0, 255, (height, width, 3), dtype=np.uint8),
        img_shape=(height, width),
        ori_shape=(height, width),
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32)),
        gt_bboxes_labels=np.arange(NUM_BOXES),
        gt_ignore_flags=np.arange(NUM_BOXES) % 2 > 0,
    )


def steps(size: tuple[int, int]) -> st.SearchStrategy:
    """One transform that may clip nothing, so that no box is cut on the way."""
    letter = dict(type="HomographyLetterResize", clip_object_border=False)
    options = [
        dict(letter, scale=size, pad_val=dict(img=114)),
        dict(letter, scale=size, allow_scale_up=False),
        dict(letter, scale=size, use_mini_pad=True),
        dict(letter, scale=size, stretch_only=True),
        dict(letter, scale=size, half_pad_param=True),
        dict(type="YOLOv5KeepRatioResize", scale=size, clip_object_border=False),
        dict(type="mmdet.Resize", scale=size, clip_object_border=False),
        dict(type="mmdet.Pad", size_divisor=32, pad_val=dict(img=(114, 114, 114))),
        dict(
            type="mmdet.RandomCrop",
            crop_size=size,
            allow_negative_crop=True,
            bbox_clip_border=False,
        ),
        *(
            dict(type="mmdet.RandomFlip", prob=1.0, direction=direction)
            for direction in ("horizontal", "vertical", "diagonal")
        ),
    ]
    return st.sampled_from(options)


sides = st.integers(48, 300)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(sides, sides),
    chain=st.lists(st.tuples(sides, sides).flatmap(steps), min_size=1, max_size=4),
    has_affine=st.booleans(),
)
def test_boxes(seed, shape, chain, has_affine):
    """Of any chain, with our affine transform at its end or not."""
    if has_affine:
        border = (-8, 12)
        chain = [*chain, dict(type="IgnoreAwareRandomAffine", border=border)]
    results = image_with_boxes(*shape, np.random.default_rng(seed))
    before = results["gt_bboxes"].tensor.double().numpy()
    set_random_seed(seed)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        results = Compose(chain)(results)
    nothing = np.eye(3, dtype=np.float32)  # Pad records none
    matrix = results.get("homography_matrix", nothing)
    assert matrix.dtype == np.float32
    assert tuple(results["img_shape"]) == results["img"].shape[:2]
    expected = project(before, matrix)
    if has_affine:
        expected = expected.clip(0, results["img_shape"][::-1] * 2)
    found = results["gt_bboxes"].tensor.numpy()
    labels = results["gt_bboxes_labels"]
    np.testing.assert_allclose(found, expected[labels], rtol=0, atol=1e-3)
    if not has_affine and not any("Crop" in step["type"] for step in chain):
        assert len(found) == NUM_BOXES


def run(type: str, results: dict, **options) -> dict:
    set_random_seed(3)
    return TRANSFORMS.build(dict(type=type, **options))(results)


def assert_same(ours: dict, theirs: dict) -> None:
    np.testing.assert_array_equal(ours["img"], theirs["img"])
    assert torch.equal(ours["gt_bboxes"].tensor, theirs["gt_bboxes"].tensor)
    for key in ("gt_bboxes_labels", "gt_ignore_flags"):
        np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.parametrize("options", [dict(), dict(half_pad_param=True)])
def test_letter_resize_is_that_of_mmyolo(options):
    ours, theirs = (
        run(
            type,
            image_with_boxes(90, 160, np.random.default_rng(0)),
            scale=(128, 192),
            **options,
        )
        for type in ("HomographyLetterResize", "LetterResize")
    )
    assert_same(ours, theirs)
    for key in ("scale_factor", "pad_param"):
        np.testing.assert_array_equal(ours[key], theirs[key])
    # What this is for: should MMYOLO record it one day, ours can go
    assert not np.allclose(ours["homography_matrix"], theirs["homography_matrix"])


class FourImages:
    """A data set of images of different sizes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        shapes = [(90, 160), (160, 90), (64, 64), (200, 120)]
        self.images = [image_with_boxes(*shape, rng) for shape in shapes]

    def __len__(self) -> int:
        return len(self.images)

    def get_data_info(self, index: int) -> dict:
        return self.images[index]


def test_mosaic_is_that_of_mmyolo():
    ours, theirs = (
        run(
            type,
            dict(FourImages().get_data_info(0), dataset=FourImages()),
            img_scale=(128, 96),
        )
        for type in ("HomographyMosaic", "Mosaic")
    )
    assert_same(ours, theirs)
    assert len(ours["gt_bboxes"]) == 4 * NUM_BOXES


def test_coordinates_begin_anew_in_a_mosaic():
    results = FourImages().get_data_info(0)
    before = dict(homography_matrix=np.full((3, 3), 7), dataset=FourImages())
    results = run("HomographyMosaic", results | before, img_scale=(128, 96))
    np.testing.assert_array_equal(results["homography_matrix"], np.eye(3))
    assert results["homography_matrix"].dtype == np.float32
    assert results["img_shape"] == results["ori_shape"] == (192, 256)
    assert results["scale_factor"] == (1.0, 1.0)
