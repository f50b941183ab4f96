import json
import re

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.processes import run_tool

YOLO11 = "configs/demo/yolo11_n_area-aware_bg-max_1xb8-14e_digits.py"
BASELINE = "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py"


@pytest.fixture
def run(root, tmp_path, demo_options):
    def run(*arguments, config=YOLO11, new=False, **options):
        options = demo_options | options
        command = [
            str(root / "tools/visualize_assignment.py"),
            str(root / config),
            *arguments,
            "--out",
            str(tmp_path / "picture.png"),
            "--cfg-options",
            *(f"{k}={v}" for k, v in options.items()),
        ]
        return run_tool(command, new=new)

    return run


@pytest.fixture
def boxes(digits) -> list[list]:
    """Those of each image of the training set."""
    data = json.loads((digits / "annotations/train.json").read_text())
    return [
        [a["bbox"] for a in data["annotations"] if a["image_id"] == image["id"]]
        for image in data["images"]
    ]


def sizes(table: str) -> list[tuple[int, int]]:
    """Width and height of the boxes, as the table lists them."""
    return [(int(w), int(h)) for w, h in re.findall(r"(\d+) × (\d+)", table)]


def coloured(picture) -> np.ndarray:
    """Where a picture is not grey: boxes and priors, on a grey image."""
    pixels = plt.imread(picture)[..., :3]
    return np.ptp(pixels, axis=-1) > 0.1


def test_picture_and_table(run, boxes, tmp_path):
    index = int(np.argmax([len(b) for b in boxes]))
    result = run("--index", str(index), new=True)
    assert result.returncode == 0, result.stderr
    expected = sorted((round(w), round(h)) for _, _, w, h in boxes[index])
    assert sorted(sizes(result.stdout)) == expected
    areas = [w * h for w, h in sizes(result.stdout)]
    assert areas == sorted(areas)
    for text in ("stride 8", "stride 16", "stride 32", "area weight", "picture: "):
        assert text in result.stdout
    # Small boxes have priors, and the area weight lifts them: the last column
    weights = re.findall(r"(\d\.\d\d) │$", result.stdout, re.MULTILINE)
    assert len(weights) > len(areas) / 2
    assert len(set(weights)) > 1
    drawn = coloured(tmp_path / "picture.png")
    assert drawn.sum() > 2000
    # The lines of boxes are thinner than the dots of priors
    dots = cv2.erode(drawn.astype(np.uint8), np.ones((3, 3)))
    assert dots.sum() > 40


def test_an_image_without_boxes(run, boxes, tmp_path):
    index = next(i for i, b in enumerate(boxes) if not b)
    result = run("--index", str(index))
    assert result.returncode == 0, result.stderr
    assert sizes(result.stdout) == []
    assert "area weight" in result.stdout  # the header of the table
    pixels = plt.imread(tmp_path / "picture.png")[..., :3]
    # One panel of the image for each of three levels, and nothing drawn onto it
    assert not coloured(tmp_path / "picture.png").any()
    assert (pixels < 1).any(-1).mean() > 0.5


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        (("--index", "99"), dict(), "error: --index must be in 0...11, got 99"),
        (
            (),
            {"config": BASELINE, "model.bbox_head.type": "YOLOv8Head"},
            "error: bbox_head must be an AreaAwareYOLOv8Head, got YOLOv8Head of a "
            "YOLODetector",
        ),
    ],
)
def test_wrong_arguments(run, arguments, config, message):
    result = run(*arguments, **config)
    assert result.returncode != 0
    assert message in result.stderr.splitlines()


def test_a_detector_of_two_stages(root, digits, tmp_path):
    config = (
        "configs/demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py"
    )
    tool = root / "tools/visualize_assignment.py"
    result = run_tool([tool, root / config])
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "error: bbox_head must be an AreaAwareYOLOv8Head" in result.stderr
    assert "FasterRCNN" in result.stderr
