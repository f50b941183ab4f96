import json
import subprocess
import sys

import pytest
from PIL import Image

LINES = """\
10,20,30,40,1,1,0,0
100,100,50,10,1,10,0,1,
190,90,50,50,1,4,0,0
-5,5,10,10,1,2,0,0
0,0,50,50,0,0,0,0
1,1,9,9,1,11,0,0
5,5,0,9,1,4,0,0
300,300,9,9,1,4,0,0
5,5,9,9,0,4,0,0
5,5,9,9,1,12,0,0
not,a,line
"""


@pytest.fixture
def visdrone(tmp_path):
    folder = tmp_path / "VisDrone2019-DET-val"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (200, 120)).save(folder / "images" / f"{name}.jpg")
    (folder / "annotations/a.txt").write_text(LINES)
    return tmp_path


def run(root, *arguments) -> subprocess.CompletedProcess:
    tool = root / "tools/dataset_converters/visdrone2coco.py"
    return subprocess.run(
        [sys.executable, tool, *arguments], capture_output=True, text=True
    )


def test_boxes_and_what_is_skipped(root, visdrone):
    text = run(root, visdrone).stdout
    content = json.loads((visdrone / "annotations/val.json").read_text())
    assert [a["bbox"] for a in content["annotations"]] == [
        [10, 20, 30, 40],
        [100, 100, 50, 10],
        [190, 90, 10, 30],  # cut at the border of the image
        [0, 5, 5, 10],
    ]
    assert [a["category_id"] for a in content["annotations"]] == [1, 10, 4, 2]
    assert content["categories"][3] == dict(id=4, name="car")
    assert [i["file_name"] for i in content["images"]] == ["a.jpg", "b.jpg"]
    assert "2 images, 4 boxes" in text
    for number, reason in (
        (1, "ignored region"),
        (1, "category 'others'"),
        (2, "box without area"),
        (1, "marked as not to be evaluated"),
        (1, "unknown category"),
        (1, "malformed line"),
        (1, "image without annotation file"),
    ):
        assert f"skipped {number}: {reason}" in text


def test_the_recipe_has_the_classes_of_the_converter(root, visdrone):
    from mmengine.config import Config

    run(root, visdrone)
    content = json.loads((visdrone / "annotations/val.json").read_text())
    recipe = "configs/yolov8/yolov8_s_area-aware_bg-max_8xb16-300e_visdrone.py"
    classes = Config.fromfile(root / recipe).train_dataloader.dataset.metainfo.classes
    assert list(classes) == [c["name"] for c in content["categories"]]


def test_nothing_there_is_an_error(root, tmp_path):
    result = run(root, tmp_path)
    assert result.returncode != 0
    assert f"{tmp_path}/VisDrone2019-DET-train/images" in result.stderr
