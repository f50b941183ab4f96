"""The laptop-sized Faster R-CNN, as a user trains it: in processes of their own."""

import pytest

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


@pytest.fixture
def train(root, tmp_path, two_stage_options):
    def train(name, *arguments, **options):
        return command(
            root,
            "train.py",
            root / CONFIG,
            "--work-dir",
            tmp_path / name,
            *arguments,
            **(two_stage_options | options),
        )

    return train


def test_train_validate_and_test(root, tmp_path, two_stage_options, train):
    options = two_stage_options
    options["train_cfg.val_interval"] = 1
    text = run(train("run"))
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


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, train):
    epochs = {"train_cfg.max_epochs": 4}
    run(train("whole", **epochs))
    kill_at_checkpoint(train("killed", **epochs), tmp_path / "killed")
    run(train("killed", "--resume", **epochs))
    lines = assert_equal_where_resumed(tmp_path / "whole", tmp_path / "killed")
    assert lines[-1].keys() >= set(LOGGED)
