import filecmp
import json

import cv2
import pytest
from mmengine.registry import DATASETS

from mmareaaware.datasets import write_digits


def test_the_same_arguments_give_the_same_files(digits, tmp_path):
    write_digits(tmp_path, num_images=dict(train=12, val=6))
    names = [p.relative_to(digits) for p in digits.rglob("*") if p.is_file()]
    assert len(names) == 12 + 6 + 2
    _, different, missing = filecmp.cmpfiles(digits, tmp_path, names, shallow=False)
    assert not different
    assert not missing


def test_another_seed_gives_other_files(digits, tmp_path):
    write_digits(tmp_path, num_images=dict(train=12, val=6), seed=1)
    assert not filecmp.cmp(
        digits / "train/0000.jpg", tmp_path / "train/0000.jpg", False
    )


def test_boxes_are_sound_mostly_small_and_imbalanced(tmp_path):
    write_digits(tmp_path, num_images=dict(train=80))
    content = json.loads((tmp_path / "annotations/train.json").read_text())
    boxes = [a["bbox"] for a in content["annotations"]]
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= 256
        assert y + h <= 256
        assert 6 <= max(w, h) <= 96
    assert sum(w * h < 32**2 for *_, w, h in boxes) / len(boxes) > 0.6
    counts = [
        sum(a["category_id"] == c for a in content["annotations"]) for c in (0, 9)
    ]
    assert counts[0] > 2 * counts[1] > 0
    with_boxes = {a["image_id"] for a in content["annotations"]}
    assert 0 < len(content["images"]) - len(with_boxes) < 30
    assert cv2.imread(str(tmp_path / "train/0000.jpg")).shape == (256, 256, 3)


def test_missing_files_name_the_command(tmp_path):
    dataset = dict(
        type="DigitsDataset",
        data_root=str(tmp_path),
        ann_file="annotations/train.json",
        data_prefix=dict(img="train/"),
        pipeline=[],
    )
    with pytest.raises(FileNotFoundError, match=r"make_digits\.py"):
        DATASETS.build(dataset)
