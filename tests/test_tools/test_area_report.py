import json
import re
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from mmyolo.registry import MODELS

from mmareaaware.analysis import (
    area_report,
    figure,
    open_config,
    read_training_boxes,
    summarise,
)
from tests.conftest import ROOT
from tests.processes import run_tool

CONFIG = "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"


@pytest.fixture
def run(root, tmp_path):
    def run(config, *arguments):
        command = [
            str(root / "tools/analysis/area_report.py"),
            str(config),
            *("--out", str(tmp_path / "report")),
            *arguments,
        ]
        return run_tool(command, cwd=tmp_path)

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
    power = [min(max(32 / side, 1), 4) for side in found["histogram"]["centres"]]
    assert weight["curve"] == [pytest.approx(power)]
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


def test_panels_of_the_picture(demo_options):
    cfg = open_config(ROOT / CONFIG, demo_options)
    report = area_report(read_training_boxes(cfg), MODELS.build(cfg.model))
    found = dict(config=CONFIG, **summarise(report, None))
    edges = torch.tensor(found["histogram"]["edges"])
    bins = found["histogram"]["bins"]
    _, ((sizes, priors), (shares, crowds)) = plt.subplots(2, 2)
    figure.draw_sizes(sizes, found, edges)
    assert sizes.patches[0].get_data().values.tolist() == [b["boxes"] for b in bins]
    figure.draw_weights(sizes, report.weightings, edges)
    (curve,) = (line for line in sizes.lines if len(line.get_xdata()) > 2)
    sides, weights = curve.get_data()
    assert weights == pytest.approx((32 / sides).clip(1, 4))
    figure.draw_priors(priors, found, edges)
    levels = [line for line in priors.lines if line.get_label().startswith("stride")]
    filled = [b for b in bins if b["boxes"]]
    for level, line in enumerate(levels):
        assert line.get_ydata().tolist() == [b["priors"][level] for b in filled]
    assert len(levels) == 3
    figure.draw_shares(shares, found)
    names = [label.get_text() for label in shares.get_yticklabels()]
    assert names == ["boxes", "loss, no area weight", "loss, bbox_head.loss_cls"]
    widths = np.array([bar.get_width() for bar in shares.patches]).reshape(3, 3)
    drawn = [found["loss_shares"], found["area_weights"][0]["loss_shares"]]
    np.testing.assert_allclose(widths.T[1:], drawn)
    figure.draw_crowds(crowds, found)
    assert sum(bar.get_height() for bar in crowds.patches) == found["images"]
    plt.close("all")


@pytest.fixture
def retinanet(digits, tmp_path) -> list[str]:
    """A stock recipe, and the options that give it data."""
    config = tmp_path / "retinanet.py"
    config.write_text('_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"')
    options = dict(
        type="DigitsDataset",
        data_root=f"{digits}/",
        ann_file="annotations/train.json",
    )
    options = [f"train_dataloader.dataset.{k}={v}" for k, v in options.items()]
    options.append("train_dataloader.dataset.data_prefix.img=train/")
    return [str(config), "--images", "3", "--cfg-options", *options]


def test_a_stock_detector_and_images(run, retinanet, tmp_path):
    result = run(*retinanet)
    assert result.returncode == 0, result.stderr
    assert "3 images, height × width in px: 800 × 800 (3)" in result.stdout
    assert "stride 128" in result.stdout
    assert "the config has no area weight" in result.stdout
    assert (tmp_path / "report/area_report.png").exists()


def test_a_weight_switched_on(run_tool, retinanet, tmp_path):
    out = ["--out", tmp_path, "--area-aware", "StepAreaWeight"]
    run_tool("analysis/area_report.py", *retinanet, *out)
    (weight,) = json.loads((tmp_path / "area_report.json").read_text())["area_weights"]
    assert weight["module"] == "bbox_head"
    assert weight["area_weight"].startswith("StepAreaWeight")


def test_what_is_missing_is_named_without_a_traceback(run, root):
    missing = "train_dataloader.dataset.ann_file=no.json"
    result = run(root / CONFIG, "--cfg-options", missing)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert re.search(r"error: .*no\.json does not exist.*make_digits", result.stderr)
