"""What is pasted is the object, with its annotations, and nothing else changes."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine import dump
from mmengine.runner import set_random_seed

from mmareaaware.datasets import SmallObjectCopyPaste

HEIGHT, WIDTH = 160, 200
MARGIN = 2
# Small, small with fractions of pixels, small and ignored, large
BOXES = [
    [20, 30, 32, 50],
    [60.3, 70.8, 75.5, 80.1],
    [90, 20, 110, 40],
    [120, 90, 180, 150],
]
SOURCES, IGNORED = [0, 1], 2


def image_of(boxes, seed=0, ignored=(IGNORED,), **others) -> dict:
    """A noisy image, as it is after the annotations; a label is a box's number."""
    rng = np.random.default_rng(seed)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return dict(
        img=rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.isin(np.arange(len(boxes)), ignored),
        **others,
    )


def paste(results: dict, seed=0, **options) -> dict:
    """With probability 1, no variation, and wherever it is free."""
    defaults = dict(
        prob=1,
        copies=3,
        max_mismatch=255,
        flip_prob=0,
        scale_range=(1, 1),
        margin=MARGIN,
    )
    set_random_seed(seed)
    return SmallObjectCopyPaste(**{**defaults, **options})({**results})


def pasted(before: dict, after: dict) -> list[tuple[int, np.ndarray]]:
    """Label and box of each copy."""
    number = len(before["gt_bboxes"])
    boxes = after["gt_bboxes"].tensor.numpy()
    assert len(boxes) == len(after["gt_bboxes_labels"]) == len(after["gt_ignore_flags"])
    assert torch.equal(after["gt_bboxes"].tensor[:number], before["gt_bboxes"].tensor)
    assert not after["gt_ignore_flags"][number:].any()
    return list(
        zip(after["gt_bboxes_labels"][number:].tolist(), boxes[number:], strict=True)
    )


def region(box, margin=0) -> tuple[slice, slice]:
    """Whole pixels that hold a box."""
    x1, y1 = (int(np.floor(value + 1e-3)) - margin for value in box[:2])
    x2, y2 = (int(np.ceil(value - 1e-3)) + margin for value in box[2:])
    return slice(y1, y2), slice(x1, x2)


@pytest.mark.parametrize("seed", range(20))
def test_only_copies_change(seed):
    before = image_of(BOXES, seed)
    original = before["img"].copy()
    after = paste(before, seed)
    copies = pasted(before, after)
    assert sorted({label for label, _ in copies}) == SOURCES
    assert np.array_equal(before["img"], original)

    occupied = np.zeros((HEIGHT, WIDTH), int)
    for box in BOXES:
        occupied[region(box)] += 1
    changed = np.zeros((HEIGHT, WIDTH), bool)
    for label, box in copies:
        source = BOXES[label]
        np.testing.assert_allclose(
            box[2:] - box[:2], np.subtract(source[2:], source[:2]), atol=1e-4
        )
        # The same fractions of pixels
        np.testing.assert_allclose((box - source) % 1 % 0.9999, 0, atol=1e-3)
        assert np.array_equal(after["img"][region(box)], original[region(source)])
        rows, columns = region(box, MARGIN)
        assert min(rows.start, columns.start) >= 0
        assert max(rows.stop - HEIGHT, columns.stop - WIDTH) <= 0
        assert not occupied[rows, columns].any()
        occupied[region(box)] += 1
        changed[rows, columns] = True
    assert np.array_equal(after["img"][~changed], original[~changed])


def test_margin_fades_out():
    before = image_of([BOXES[0]], ignored=())
    before["img"] = np.full_like(before["img"], 101)
    rows, columns = region(BOXES[0], MARGIN)
    before["img"][rows, columns] = 190
    after = paste(before, copies=1, places=1)
    ((_, box),) = pasted(before, after)
    row = int(box[1] + box[3]) // 2
    left = int(box[0])
    assert after["img"][row, left - 3 : left + 1, 0].tolist() == [101, 131, 160, 190]


def test_mirrored_and_scaled():
    before = image_of([BOXES[0]], ignored=())
    source = before["img"][region(BOXES[0])]
    ((_, box),) = pasted(before, after := paste(before, copies=1, flip_prob=1))
    assert np.array_equal(after["img"][region(box)], source[:, ::-1])

    ((_, box),) = pasted(before, after := paste(before, copies=1, scale_range=(2, 2)))
    assert (box[2:] - box[:2]).tolist() == [24, 40]
    window = before["img"][region(BOXES[0], MARGIN)]
    doubled = cv2.resize(window, None, fx=2, fy=2)[4:-4, 4:-4]
    assert np.array_equal(after["img"][region(box)], doubled)


def test_mirrored_box_with_fractions():
    """A bright object in a box that ends within its last pixels."""
    before = image_of([[20.25, 30, 31.5, 42]], ignored=())
    after = paste(before, copies=1, flip_prob=1)
    ((_, box),) = pasted(before, after)
    assert box[0] % 1 == pytest.approx(0.5)
    assert box[2] % 1 == pytest.approx(0.75)


OUTLINE = [20.0, 30.0, 32.0, 30.0, 20.0, 50.0]  # a triangle in the first box


@pytest.mark.parametrize("kind", ["bitmap", "polygon"])
@pytest.mark.parametrize("flip_prob", [0, 1])
def test_masks(kind, flip_prob):
    masks = PolygonMasks([[np.array(OUTLINE)]], HEIGHT, WIDTH)
    if kind == "bitmap":
        masks = BitmapMasks(masks.to_ndarray(), HEIGHT, WIDTH)
    before = image_of([BOXES[0]], ignored=(), gt_masks=masks)
    after = paste(before, copies=2, flip_prob=flip_prob)
    assert type(after["gt_masks"]) is type(masks)
    source_mask, *copied_masks = after["gt_masks"].to_ndarray()
    assert np.array_equal(source_mask, masks.to_ndarray()[0])
    step = -1 if flip_prob else 1
    source = region(BOXES[0])
    copies = pasted(before, after)
    assert len(copies) == len(copied_masks) == 2
    for (_, box), mask in zip(copies, copied_masks, strict=True):
        part = region(box)
        expected = source_mask[source][:, ::step]
        if kind == "polygon" and flip_prob:  # rasterised anew: half a pixel
            assert (mask[part] != expected).mean() < 0.1
        else:
            assert np.array_equal(mask[part], expected)
        assert mask.sum() == mask[part].sum()
        inside = expected > 0
        there = before["img"][source][:, ::step]
        assert np.array_equal(after["img"][part][inside], there[inside])
        far = (
            cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
            > MARGIN + 1
        )
        assert far.any()
        assert np.array_equal(after["img"][part][far], before["img"][part][far])


def test_mask_says_what_is_small():
    """The box of a diagonal is large."""
    outline = np.array([20.0, 20.0, 25.0, 20.0, 75.0, 70.0, 70.0, 70.0])
    masks = PolygonMasks([[outline]], HEIGHT, WIDTH)
    before = image_of([[20, 20, 75, 70]], ignored=(), gt_masks=masks)
    assert len(pasted(before, paste(before, copies=1))) == 1
    del before["gt_masks"]
    assert not pasted(before, paste(before, copies=1))


def test_no_copy_of_empty_masks():
    masks = BitmapMasks(np.zeros((1, HEIGHT, WIDTH), np.uint8), HEIGHT, WIDTH)
    before = image_of([BOXES[0]], ignored=(), gt_masks=masks)
    assert not pasted(before, paste(before))


@pytest.mark.parametrize(
    ("boxes", "ignored"),
    [
        ([], ()),
        ([[120, 90, 180, 150]], ()),  # large
        ([[90, 20, 110, 40]], (0,)),  # ignored
        ([[0, 20, 10, 40], [190, 20, 199, 40], [50, 150, 60, 160]], ()),  # cut off
        ([[20, 20, 40, 40], [39, 39, 50, 50]], ()),  # occluded
        ([[20, 20, 40, 40], [41, 20, 60, 40]], ()),  # the other one is in the margin
        ([[20, 20, 40, 40], [10, 10, 90, 90]], (1,)),  # in a crowd
    ],
)
def test_nothing_to_copy(boxes, ignored):
    before = image_of(boxes, ignored=ignored)
    after = paste(before)
    assert not pasted(before, after)
    assert after["img"] is before["img"]


def test_no_room():
    """Ignored regions are wherever the object is not."""
    regions = [[0, 0, WIDTH, 27], [0, 53, WIDTH, HEIGHT], [20, 27, WIDTH, 53]]
    boxes = [[5, 30, 17, 50], *regions]
    before = image_of(boxes, ignored=(1, 2, 3))
    assert not pasted(before, paste(before, places=2000))
    before = image_of(boxes[:3], ignored=(1, 2))
    assert pasted(before, paste(before, places=2000))


def test_every_object_first():
    before = image_of(BOXES)
    labels = [label for label, _ in pasted(before, paste(before, max_objects=3))]
    assert sorted(labels[:2]) == SOURCES
    assert len(labels) == 3


def test_places_look_alike():
    """An object on black is not put on white."""
    before = image_of([BOXES[0]], ignored=())
    before["img"][:, : WIDTH // 2] = 10
    before["img"][:, WIDTH // 2 :] = 240
    before["img"][region(BOXES[0])] = 120
    for seed in range(10):
        copies = pasted(before, paste(before, seed, max_mismatch=5, places=8))
        assert copies
        assert all(box[2] <= WIDTH // 2 for _, box in copies)
    before["img"][:, :15] = before["img"][:, 40:] = 240
    before["img"][:28] = before["img"][52:] = 240
    assert not pasted(before, paste(before, max_mismatch=5))


def test_seeded():
    before = image_of(BOXES)
    options = dict(prob=0.5, flip_prob=0.5, scale_range=(0.8, 1.2))
    runs = [[paste(before, seed, **options) for seed in range(8)] for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert np.array_equal(first["img"], second["img"])
        assert torch.equal(first["gt_bboxes"].tensor, second["gt_bboxes"].tensor)
    numbers = {len(after["gt_bboxes"]) for after in runs[0]}
    assert len(numbers) > 1  # some have no copies
    assert len({after["img"].tobytes() for after in runs[0]}) > 2


def test_grey_image():
    before = image_of(BOXES)
    before["img"] = before["img"][..., 0]
    after = paste(before)
    for label, box in pasted(before, after):
        there = before["img"][region(BOXES[label])]
        assert np.array_equal(after["img"][region(box)], there)


def test_pipeline(tmp_path):
    """From files, with a crowd; copies reach the data sample."""
    image = image_of(BOXES)["img"]
    cv2.imwrite(str(tmp_path / "0.png"), image)
    annotations = [
        dict(
            id=number,
            image_id=0,
            category_id=1,
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=(x2 - x1) * (y2 - y1),
            segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]],
            iscrowd=int(number == IGNORED),
        )
        for number, (x1, y1, x2, y2) in enumerate(BOXES)
    ]
    images = [dict(id=0, file_name="0.png", width=WIDTH, height=HEIGHT)]
    content = dict(
        images=images, annotations=annotations, categories=[dict(id=1, name="thing")]
    )
    dump(content, tmp_path / "train.json")
    copy_paste = dict(type="SmallObjectCopyPaste", prob=1, max_mismatch=255)
    dataset = CocoDataset(
        data_root=str(tmp_path),
        ann_file="train.json",
        data_prefix=dict(img=""),
        metainfo=dict(classes=("thing",)),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
            copy_paste,
            dict(type="mmdet.PackDetInputs"),
        ],
    )
    sample = dataset[0]["data_samples"]
    found = sample.gt_instances
    assert len(found.bboxes) == len(found.labels) == len(found.masks) == 3 + 4
    assert len(sample.ignored_instances) == 1
    assert found.bboxes.tensor.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(prob=1.5), r"prob must be in \[0, 1\], got 1.5"),
        (dict(flip_prob=-1), "flip_prob"),
        (dict(copies=0), "copies must be a whole number, at least 1, got 0"),
        (dict(copies=1.5), "copies"),
        (dict(max_objects=0), "max_objects"),
        (dict(margin=0), "margin"),
        (dict(places=0), "places"),
        (dict(max_area=0), "max_area must be above 0, got 0"),
        (dict(max_mismatch=0), "max_mismatch"),
        (dict(scale_range=(1.2, 0.8)), r"both above 0, got \(1.2, 0.8\)"),
        (dict(scale_range=(0, 1)), "scale_range"),
        (dict(scale_range=(1,)), "scale_range"),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(ValueError, match=message):
        SmallObjectCopyPaste(**options)


def test_before_the_annotations():
    with pytest.raises(ValueError, match="place it behind LoadAnnotations"):
        SmallObjectCopyPaste(prob=1.0)(dict(img=np.zeros((HEIGHT, WIDTH, 3))))


def test_other_annotations():
    with pytest.raises(ValueError, match="cannot paste gt_seg_map: do not load"):
        paste(image_of(BOXES, gt_seg_map=np.zeros((HEIGHT, WIDTH))))


def test_a_place_may_be_a_little_darker():
    before = image_of([BOXES[0]], ignored=())
    before["img"][:] = 100
    before["img"][region(BOXES[0], MARGIN)] = 104
    assert pasted(before, paste(before, max_mismatch=5))


def test_a_scaled_mask_stays_the_object():
    masks = PolygonMasks([[np.array(OUTLINE)]], HEIGHT, WIDTH)
    masks = BitmapMasks(masks.to_ndarray(), HEIGHT, WIDTH)
    before = image_of([BOXES[0]], ignored=(), gt_masks=masks)
    after = paste(before, copies=1, scale_range=(2, 2))
    source, copy = after["gt_masks"].to_ndarray()
    assert copy.sum() == 4 * source.sum()


def test_outlines_and_boxes_are_scaled_alike():
    """To whole pixels: a window of 16 × 24 px becomes one of 18 × 26."""
    masks = PolygonMasks([[np.array(OUTLINE)]], HEIGHT, WIDTH)
    before = image_of([BOXES[0]], ignored=(), gt_masks=masks)
    after = paste(before, copies=1, scale_range=(1.1, 1.1))
    ((_, box),) = pasted(before, after)
    assert box[2:] - box[:2] == pytest.approx([12 * 18 / 16, 20 * 26 / 24])
    corners = after["gt_masks"].masks[1][0].reshape(-1, 2)
    assert [*corners.min(0), *corners.max(0)] == pytest.approx(box, abs=1e-4)


@pytest.mark.parametrize(
    "box", [[2, 2, 12, 12], [WIDTH - 12, HEIGHT - 12, WIDTH - 2, HEIGHT - 2]]
)
def test_a_window_may_end_with_the_image(box):
    before = image_of([box], ignored=())
    assert pasted(before, paste(before, copies=1))


def test_an_area_of_max_area_is_not_small():
    before = image_of([[20, 20, 52, 52]], ignored=())
    assert not pasted(before, paste(before))
    assert pasted(before, paste(before, max_area=32**2 + 1))
