import json
import re
import subprocess
import sys

import pytest

CONFIG = "configs/demo/yolo11_n_area-aware_bg-max_1xb8-14e_digits.py"


@pytest.fixture
def run(root, tmp_path, demo_options):
    def run(*arguments, **options):
        options = demo_options | options
        command = [
            sys.executable,
            str(root / "tools/visualize_assignment.py"),
            str(root / CONFIG),
            *arguments,
            "--out",
            str(tmp_path / "picture.png"),
            "--cfg-options",
            *(f"{k}={v}" for k, v in options.items()),
        ]
        return subprocess.run(command, capture_output=True, text=True)

    return run


def test_picture_and_table(run, tmp_path):
    result = run("--index", "1")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "picture.png").stat().st_size > 50_000
    for text in ("stride 8", "stride 32", "area", "picture: "):
        assert text in result.stdout


def test_an_image_without_boxes(run, digits, tmp_path):
    data = json.loads((digits / "annotations/train.json").read_text())
    with_boxes = {a["image_id"] for a in data["annotations"]}
    index = next(i for i, m in enumerate(data["images"]) if m["id"] not in with_boxes)
    result = run("--index", str(index))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "picture.png").exists()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("--index", "99"), {}, "--index must be in 0...11, got 99"),
        (
            (),
            {
                "model.bbox_head.type": "YOLOv8Head",
                "model.bbox_head.loss_bg": None,
            },
            "bbox_head must be an AreaAwareYOLOv8Head|loss_bg",
        ),
    ],
)
def test_wrong_arguments(run, arguments, options, message):
    result = run(*arguments, **options)
    assert result.returncode != 0
    assert re.search(message, result.stderr)


def test_a_detector_of_two_stages(root, digits, tmp_path):
    config = (
        "configs/demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py"
    )
    tool = root / "tools/visualize_assignment.py"
    result = subprocess.run(
        [sys.executable, tool, root / config], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "error: bbox_head must be an AreaAwareYOLOv8Head" in result.stderr
    assert "FasterRCNN" in result.stderr
