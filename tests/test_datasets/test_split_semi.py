import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmareaaware.datasets.split_semi import (
    SplitError,
    count,
    images_of_classes,
    read_coco,
    split_semi,
    take_images,
)
from tests.conftest import ROOT

TOOL = ROOT / "tools/dataset_converters/split_semi.py"


def coco(labels_per_image, num_classes: int) -> dict:
    """A file with these labels on each image; ids are no indices."""
    annotations = [
        dict(image_id=10 + i, category_id=3 * label + 1, bbox=[0, 0, 9, 9], iscrowd=0)
        for i, labels in enumerate(labels_per_image)
        for label in labels
    ]
    return dict(
        info=dict(year=2026),
        images=[
            dict(id=10 + i, file_name=f"{i}") for i in range(len(labels_per_image))
        ],
        annotations=[dict(a, id=i) for i, a in enumerate(annotations)],
        categories=[dict(id=3 * i + 1, name=f"c{i}") for i in range(num_classes)],
    )


def random_coco(rng, num_images: int, num_classes: int) -> dict:
    """Classes from frequent to rare, one image in five empty."""
    frequency = 0.5 ** np.arange(num_classes)
    labels = [
        rng.choice(
            num_classes, rng.integers(1, 5), p=frequency / frequency.sum()
        ).tolist()
        if rng.random() < 0.8
        else []
        for _ in range(num_images)
    ]
    return coco(labels, num_classes)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_images=st.integers(40, 150),
    num_classes=st.integers(1, 8),
    percent=st.floats(20, 33),
    folds=st.integers(1, 3),
)
def test_splits(seed, num_images, num_classes, percent, folds):
    content = random_coco(np.random.default_rng(seed), num_images, num_classes)
    splits = split_semi(content, percent, folds, seed)
    images_of = images_of_classes(content)
    everything = {image["id"] for image in content["images"]}
    assert len(splits) == folds
    for split in splits:
        assert split <= everything
        assert len(split) == round(num_images * percent / 100)
        assert all(split & images for images in images_of.values())
    # Disjoint, but for images of classes that have too few of them
    rare = [images for images in images_of.values() if len(images) < folds]
    for image in everything:
        if sum(image in split for split in splits) > 1:
            assert any(image in images for images in rare)
    assert split_semi(content, percent, folds, seed) == splits
    assert split_semi(content, percent, folds, seed + 1) != splits


def test_the_rarest_classes_come_first():
    """The only image of class 2 is in the split; it has class 1 as well."""
    labels = [[0]] * 20 + [[1]] * 3 + [[1, 2]]
    (split,) = split_semi(coco(labels, 3), 10, 1)
    assert len(split) == 2
    assert 10 + 23 in split


def test_a_class_of_one_image_is_in_every_fold():
    labels = [[0]] * 20 + [[1]]
    splits = split_semi(coco(labels, 2), 20, 3)
    assert all(10 + 20 in split for split in splits)
    assert len(set.union(*splits)) == 3 * 4 - 2


def test_crowds_are_no_boxes():
    content = coco([[0]] * 9 + [[1]], 2)
    content["annotations"][-1]["iscrowd"] = 1
    assert images_of_classes(content).keys() == {1}
    assert count(content).boxes == dict(c0=9, c1=0)


def test_parts_are_the_whole():
    content = random_coco(np.random.default_rng(0), 50, 4)
    (ids,) = split_semi(content, 20, 1)
    everything = {image["id"] for image in content["images"]}
    parts = [take_images(content, ids), take_images(content, everything - ids)]
    for key in ("images", "annotations"):
        both = [*parts[0][key], *parts[1][key]]
        assert sorted(both, key=lambda e: e["id"]) == content[key]
        assert parts[0][key]
    for part in parts:
        assert part["categories"] == content["categories"]
        assert part["info"] == content["info"]
        there = {image["id"] for image in part["images"]}
        assert {a["image_id"] for a in part["annotations"]} <= there
    for name, number in count(content).boxes.items():
        assert sum(count(part).boxes[name] for part in parts) == number


@pytest.mark.parametrize(
    ("percent", "folds", "message"),
    [
        (0.1, 1, "0.1 % of 30 images are 0: both parts need some"),
        (99, 1, "99 % of 30 images are 30"),
        (100, 1, "between 0 and 100, got 100"),
        (float("nan"), 1, "between 0 and 100, got nan"),
        (10, 0, "one fold or more, got 0"),
        (40, 3, "3 folds of 40 % .* at most 2 folds"),
        (5, 1, "5 % of 30 images are 2, .* it takes 5: take 17 % or more"),
    ],
)
def test_what_cannot_be_split(percent, folds, message):
    content = coco([[i % 5] for i in range(30)], 5)
    with pytest.raises(SplitError, match=message):
        split_semi(content, percent, folds)


@pytest.fixture
def call(run_tool):
    return partial(run_tool, "dataset_converters/split_semi.py")


def test_tool(call, tmp_path, capsys):
    file = tmp_path / "annotations/train.json"
    file.parent.mkdir()
    content = random_coco(np.random.default_rng(1), 40, 3)
    file.write_text(json.dumps(content))
    call(file, "--percents", 10, 25, "--folds", 2)
    written = tmp_path / "semi_anns"
    assert len(list(written.glob("*.json"))) == 8
    labelled = json.loads((written / "train.2@25.json").read_text())
    unlabelled = json.loads((written / "train.2@25-unlabeled.json").read_text())
    assert [len(part["images"]) for part in (labelled, unlabelled)] == [10, 30]
    annotations = [*labelled["annotations"], *unlabelled["annotations"]]
    assert sorted(annotations, key=lambda a: a["id"]) == content["annotations"]
    row = next(r for r in capsys.readouterr().out.splitlines() if "c0" in r)
    numbers = [int(n) for n in row.replace("│", " ").split()[1:]]
    assert numbers[1] + numbers[3] == count(content).boxes["c0"]
    before = {p: json.loads(p.read_text()) for p in written.iterdir()}
    call(file, "--percents", 10, 25, "--folds", 2, "--strip")
    for path, part in before.items():
        if "unlabeled" in path.name:
            part["annotations"] = []
        assert json.loads(path.read_text()) == part


def test_tool_says_in_one_line_what_is_wrong(call, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: .*none.json: No such file[^\n]*$"):
        call(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "is no COCO file: it has no images, annotations, categories"),
        ('{"images": [], "annotations": []}', "it has no categories"),
    ],
)
def test_what_is_no_coco_file(tmp_path, text, message):
    file = tmp_path / "train.json"
    file.write_text(text)
    with pytest.raises(SplitError, match=message):
        read_coco(file)


def test_images_of_a_rare_class_take_turns():
    splits = split_semi(coco([[0]] * 20 + [[1]] * 2, 2), 20, 4)
    assert [sum(10 + i in split for split in splits) for i in (20, 21)] == [2, 2]
