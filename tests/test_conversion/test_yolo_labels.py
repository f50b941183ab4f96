import json
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmareaaware.conversion.yolo_labels import (
    YoloDataError,
    find_images,
    label_file,
    parse_line,
    read_data_yaml,
    to_coco,
)
from tests.conftest import ROOT
from tests.processes import run_tool

TOOL = ROOT / "tools/dataset_converters/yolo2coco.py"
LABELS = """\
0 0.5 0.5 0.2 0.4
1 0.1 0.2 0.3 0.2 0.2 0.6

0 0.0 0.5 0.2 0.4
1 0.5 0.5 0.5
1 0.5 0.5 0.5 0.5 0.9
2 0.5 0.5 0.1 0.1
-1 0.5 0.5 0.1 0.1
0.5 0.5 0.5 0.1 0.1
1 100 50 20 40
1 nan 0.5 0.1 0.1
1 0.5 0.5 0 0.1
cat 0.5 0.5 0.1 0.1
0 0.50 0.50 0.20 0.40
1 1.005 0.5 0.1 0.1
"""
COORDINATES = "line skipped, coordinates not between 0 and 1 (pixels?)"
SKIPPED = {
    "line skipped, not of numbers": (1, "a.txt:13"),
    "line skipped, neither a box of 5 numbers nor an outline": (2, "a.txt:5"),
    "line skipped, class is not one of 0…1": (3, "a.txt:7"),
    COORDINATES: (2, "a.txt:10"),
    "line skipped, box without area in the image": (1, "a.txt:12"),
    "line skipped, the same object stands there already": (1, "a.txt:14"),
    "image kept as background, it has no label file": (1, "b.txt"),
    "image kept as background, its label file is empty": (1, "c.txt"),
    "image kept as background, its label file is no text": (1, "d.txt"),
    "image skipped, it cannot be read": (1, "e.png"),
}


@pytest.fixture
def birds(tmp_path):
    images, labels = tmp_path / "images/train", tmp_path / "labels/train"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for name in "abcd":
        Image.new("RGB", (200, 100)).save(images / f"{name}.jpg")
    (images / "e.png").write_text("no image")
    (images / "notes.md").write_text("no image either")
    (labels / "a.txt").write_text(LABELS)
    (labels / "c.txt").write_text("\n")
    (labels / "d.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "val.txt").write_text("./images/train/b.jpg\nimages/train/gone.jpg\n")
    (tmp_path / "data.yaml").write_text(
        "names: {0: robin, 1: Цапля}\ntrain: images/train\nval: val.txt\nnc: 2\n",
        encoding="utf-8",
    )
    return tmp_path


def test_boxes_and_the_report(birds):
    content, report = to_coco(read_data_yaml(birds / "data.yaml"), "train")
    boxes = [(a["category_id"], *a["bbox"]) for a in content["annotations"]]
    assert boxes == [
        (1, 80, 30, 40, 40),
        (2, 20, 20, 40, 40),  # the outline
        (1, 0, 30, 20, 40),  # cut at the border
        (2, 191, 45, 9, 10),  # its centre was rounded
    ]
    assert [a["area"] for a in content["annotations"]] == [1600, 1600, 800, 90]
    assert [a["id"] for a in content["annotations"]] == [1, 2, 3, 4]
    assert {a["image_id"] for a in content["annotations"]} == {0}
    assert content["images"][0] == dict(
        id=0, file_name="images/train/a.jpg", width=200, height=100
    )
    assert [i["file_name"][-5] for i in content["images"]] == ["a", "b", "c", "d"]
    assert [c["name"] for c in content["categories"]] == ["robin", "Цапля"]
    assert report.counts == {reason: n for reason, (n, _) in SKIPPED.items()}
    for reason, (_, place) in SKIPPED.items():
        assert report.examples[reason].endswith(f"/train/{place}")


def test_list_of_images(birds):
    content, report = to_coco(read_data_yaml(birds / "data.yaml"), "val")
    assert [i["file_name"] for i in content["images"]] == ["images/train/b.jpg"]
    assert report.counts["image skipped, it does not exist"] == 1


def test_a_turned_photograph(birds):
    """The size is that of the loaded image, or boxes are elsewhere."""
    path = birds / "images/train/a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(path, exif=exif)
    content, _ = to_coco(read_data_yaml(birds / "data.yaml"), "train")
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (100, 200)
    import mmcv

    assert mmcv.imread(str(path)).shape == (200, 100, 3)


def test_the_command_writes_what_mmdet_reads(birds):
    result = subprocess.run(
        [sys.executable, TOOL, birds / "data.yaml"],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    assert "train.json: 4 images, 4 boxes, 2 classes" in result.stdout
    assert "3 × line skipped, class is not one of 0…1, first " in result.stdout
    assert f"data_root='{birds}/'" in result.stdout
    dataset = DATASETS.build(
        dict(
            type="mmdet.CocoDataset",
            data_root=f"{birds}/",
            ann_file="annotations/train.json",
            data_prefix=dict(img=""),
            metainfo=dict(classes=("robin", "Цапля")),
            pipeline=[
                dict(type="mmdet.LoadImageFromFile"),
                dict(type="mmdet.LoadAnnotations", with_bbox=True),
                dict(type="mmdet.PackDetInputs"),
            ],
        )
    )
    gt = dataset[0]["data_samples"].gt_instances
    assert gt.labels.tolist() == [0, 1, 0, 1]
    torch.testing.assert_close(
        gt.bboxes.tensor[0], torch.tensor([80.0, 30.0, 120.0, 70.0])
    )
    assert json.loads((birds / "annotations/val.json").read_text())["images"]


def test_a_recipe_trains_on_it_where_it_is(birds, monkeypatch):
    assert not run_tool([str(TOOL), str(birds / "data.yaml")]).returncode
    for name, value in dict(DATA_ROOT=birds, TRAIN_IMAGES=".", VAL_IMAGES=".").items():
        monkeypatch.setenv(name, str(value))
    recipe = "yolov8_n_bg-max_1xb8-crop256-40e_coco-folder.py"
    cfg = Config.fromfile(ROOT / "configs/coco_folder" / recipe)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            dataset = DATASETS.build(loader.dataset)
            dataset.full_init()
            assert dataset[0]["inputs"].dim() == 3
    assert cfg.model.bbox_head.head_module.num_classes == 2


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/x/images/a.b.png", "images/x/labels/a.b.txt"),
        ("data/a.jpg", "data/a.txt"),
        ("data/images", "data/images.txt"),
    ],
)
def test_label_file(tmp_path, image, labels):
    assert label_file(tmp_path / image) == tmp_path / labels


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("0 -0.005 0.5 0.1 0.1", True),
        ("0 -0.02 0.5 0.1 0.1", False),
        ("0 0.5 0.5 0.1 1.005", True),
        ("0 0.5 0.5 0.1 1.02", False),
        ("0 0.2 0.2 0.4 0.2 0.4 -0.02", False),
    ],
)
def test_coordinates_are_parts_of_the_image_but_for_rounding(line, taken):
    parsed, reason = parse_line(line, 1)
    assert (parsed is not None) == taken
    assert reason == ("" if taken else COORDINATES)


def test_a_box_in_the_corner_stays_in_the_image():
    (label, box), reason = parse_line("0 0.99 0.01 0.1 0.1", 1)
    assert (label, reason) == (0, "")
    assert box == pytest.approx((0.94, 0, 1, 0.06))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b]\ntrain: images/none", "images/none, which does not exist"),
        ("names: [a, b]", "has none of train, val, test"),
        ("train: images/train", "names must name the classes, got None"),
        ("names: {0: a, 2: b}\ntrain: images/train", "must be numbered 0…1"),
        ("names: [a, a]\ntrain: images/train", "a name stands twice"),
        ("names: [a, b]\nnc: 3\ntrain: images/train", "nc is 3, of 2 names"),
        ("names: [a\n", "is no YAML file"),
        ("just text", "holds no names"),
        ("names: [a]\ntrain: {x: y}", "train must be a path"),
        ("names: [a]\ntrain: data.yaml", "neither a folder nor a list"),
        ("names: [a]\ntrain: labels", "no image in"),
        ("names: !!python/object/apply:os.system [exit]\ntrain: x", "is no YAML file"),
    ],
)
def test_wrong_data_says_so_in_a_line(birds, text, message):
    (birds / "data.yaml").write_text(text)
    with pytest.raises(YoloDataError, match=message):
        to_coco(read_data_yaml(birds / "data.yaml"), "train")


def test_the_command_fails_in_a_line(tmp_path):
    result = run_tool([TOOL, tmp_path / "none.yaml"])
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "none.yaml" in result.stderr


def test_an_image_in_two_places_is_taken_once(birds):
    folder = birds / "images/train"
    assert len(find_images([folder, folder])) == 5


def test_keypoints_are_no_outline(birds):
    text = "names: [a]\ntrain: images/train\nkpt_shape: [5, 2]"
    (birds / "data.yaml").write_text(text)
    data = read_data_yaml(birds / "data.yaml")
    line = "0 0.5 0.5 0.2 0.2" + 10 * " 0.3"
    (_, box), reason = parse_line(line, 1, data.num_keypoint_numbers)
    assert reason == ""
    assert box == pytest.approx((0.4, 0.4, 0.6, 0.6))
    (_, box), _ = parse_line("0 0.1 0.2 0.3 0.2 0.2 0.6", 1, 10)  # an outline
    assert box == pytest.approx((0.1, 0.2, 0.3, 0.6))
    (birds / "data.yaml").write_text(text.replace("[5, 2]", "five"))
    with pytest.raises(YoloDataError, match=r"kpt_shape must be .* got five"):
        read_data_yaml(birds / "data.yaml")
