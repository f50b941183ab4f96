"""Detectors of MMDetection, as a user trains them: in processes of their own."""

import pytest

from tests.test_models.test_dense_heads.test_mmdet_heads_in_training import (
    fcos,
    on_digits,
)
from tests.test_tools.test_train import (
    assert_equal_where_resumed,
    command,
    kill_at_checkpoint,
    run,
    train_scalars,
)

CONFIG = "configs/demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py"
LOGGED = (
    "loss_rpn_cls",
    "loss_cls",
    "rpn_area_weight_mean",
    "area_weight_mean",
    "detections_0.05",
    "fg_score",
    "bg_score",
    "roi_fg_share",
)


def test_train_validate_and_test(root, tmp_path, two_stage_options):
    options = two_stage_options
    options["train_cfg.val_interval"] = 1
    folder = ("--work-dir", tmp_path / "run")
    text = run(command(root, "train.py", root / CONFIG, *folder, **options))
    (scalars,) = train_scalars(tmp_path / "run")
    for name in LOGGED:
        assert f"{name}: " in text
        assert name in scalars[-1]
    assert "coco/bbox_mAP_50: " in text
    validation = [line for line in text.splitlines() if "Epoch(val) [2]" in line]
    assert "detections_0.3: " in validation[-1]
    checkpoint = tmp_path / "run/epoch_2.pth"
    folder = ("--work-dir", tmp_path / "test")
    text = run(command(root, "test.py", root / CONFIG, checkpoint, *folder, **options))
    assert "coco/bbox_mAP_50: " in text


@pytest.fixture
def faster_rcnn(root, two_stage_options):
    return root / CONFIG, two_stage_options, LOGGED


@pytest.fixture
def dense(root, tmp_path, two_stage_options):
    cfg = on_digits(fcos(), root, two_stage_options)
    cfg.dump(tmp_path / "fcos.py")
    return tmp_path / "fcos.py", {}, ("loss_bg", "area_weight_mean")


@pytest.mark.parametrize("detector", ["faster_rcnn", "dense"])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    detector, root, tmp_path, request
):
    config, options, logged = request.getfixturevalue(detector)
    options = options | {"train_cfg.max_epochs": 5}

    def train(name, *arguments):
        arguments = (config, "--work-dir", tmp_path / name, *arguments)
        return command(root, "train.py", *arguments, **options)

    run(train("whole"))
    kill_at_checkpoint(train("killed"), tmp_path / "killed")
    run(train("killed", "--resume"))
    (lines,) = assert_equal_where_resumed(tmp_path / "whole", tmp_path / "killed")
    assert lines[-1].keys() >= set(logged)
