import json
import re
import subprocess
import sys
from collections import Counter

import pytest

CONFIG = "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"


@pytest.fixture
def run(root, tmp_path):
    def run(config, *arguments):
        command = [
            sys.executable,
            str(root / "tools/analysis/area_report.py"),
            str(config),
            *("--out", str(tmp_path / "report")),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    return run


def test_tables_picture_and_numbers(run, root, digits, tmp_path):
    data_root = f"train_dataloader.dataset.data_root={digits}/"
    result = run(root / CONFIG, "--cfg-options", data_root)
    assert result.returncode == 0, result.stderr
    annotations = json.loads((digits / "annotations/train.json").read_text())
    annotations = annotations["annotations"]
    found = json.loads((tmp_path / "report/area_report.json").read_text())
    small = sum(a["area"] < 32**2 for a in annotations)
    assert found["images"] == 12
    assert found["sizes"]["small"]["boxes"] == small
    assert found["sizes"]["all"]["boxes"] == len(annotations)
    counts = Counter(str(a["category_id"]) for a in annotations)
    assert {c["name"]: c["boxes"] for c in found["classes"] if c["boxes"]} == counts
    assert sum(found["loss_shares"]) == pytest.approx(1)
    (weight,) = found["area_weights"]
    assert weight["module"] == "bbox_head.loss_cls"
    assert weight["loss_shares"][0] > found["loss_shares"][0]
    assert weight["loss_factor"] == pytest.approx(1)
    assert found["suggestions"]
    for text in (
        f"{len(annotations)} boxes",
        f"{small / len(annotations):.1%}",
        "stride 32",
        "bbox_head.loss_cls: PowerAreaWeight",
        "area_weight.gamma",
        "picture: ",
    ):
        assert text in result.stdout
    assert (tmp_path / "report/area_report.png").stat().st_size > 50_000


def test_a_stock_detector_and_images(run, digits, tmp_path):
    config = tmp_path / "retinanet.py"
    config.write_text('_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"')
    options = dict(
        type="DigitsDataset",
        data_root=f"{digits}/",
        ann_file="annotations/train.json",
    )
    options = [f"train_dataloader.dataset.{k}={v}" for k, v in options.items()]
    options.append("train_dataloader.dataset.data_prefix.img=train/")
    result = run(config, "--images", "3", "--cfg-options", *options)
    assert result.returncode == 0, result.stderr
    assert "3 images, height × width in px: 800 × 800 (3)" in result.stdout
    assert "stride 128" in result.stdout
    assert "the config has no area weight" in result.stdout
    assert (tmp_path / "report/area_report.png").exists()


def test_what_is_missing_is_named_without_a_traceback(run, root):
    missing = "train_dataloader.dataset.ann_file=no.json"
    result = run(root / CONFIG, "--cfg-options", missing)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert re.search(r"error: .*no\.json does not exist.*make_digits", result.stderr)
