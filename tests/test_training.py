"""What the penalty is for, in a short seeded training on the demo data."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmareaaware.datasets import digits

# The penalty is a mean over all background priors: from a random start and within two
# hundred iterations, it takes a large λ to see it work. At 300, whether false positives
# become fewer is still a matter of rounding.
LAMBDA = 3000.0
LAMBDA_OF_BASELINE = 1e-9  # as good as none, and the penalty is still logged


@pytest.fixture
def noisy_data(tmp_path, monkeypatch):
    """Digits with many images that have none."""
    monkeypatch.setattr(digits, "EMPTY_SHARE", 0.4)
    digits.write_digits(tmp_path / "data", num_images=dict(train=200, val=40))
    return tmp_path / "data"


def train(lambda_bg, root, data, work_dir) -> tuple[dict, np.ndarray]:
    """The metrics after a training, and the penalty in each of its iterations."""
    cfg = Config.fromfile(
        root / "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
    )
    cfg.merge_from_dict(
        {
            "work_dir": str(work_dir),
            "log_level": "ERROR",
            "randomness.seed": 1,  # a loud one
            "model.bbox_head.loss_bg.normalizer": "background",
            "train_dataloader.batch_size": 16,
            "train_dataloader.dataset.data_root": str(data),
            "val_dataloader.dataset.data_root": str(data),
            "test_dataloader.dataset.data_root": str(data),
            "val_evaluator.0.ann_file": f"{data}/annotations/val.json",
            "test_evaluator.0.ann_file": f"{data}/annotations/val.json",
            "test_evaluator.1.score_thrs": [0.02],
            "model.backbone.widen_factor": 0.125,
            "model.neck.widen_factor": 0.125,
            "model.bbox_head.head_module.widen_factor": 0.125,
            "optim_wrapper.optimizer.lr": 4e-3,
            "train_cfg.max_epochs": 11,
            "train_cfg.val_interval": 100,
            "custom_hooks.0.gamma": 20,  # an EMA that follows in so short a time
            "custom_hooks.3.schedule": "constant",
            "custom_hooks.3.burn_in": 0,
            "model.bbox_head.loss_bg.lambda_bg": lambda_bg,
        }
    )
    cfg.train_dataloader.dataset.pipeline.insert(
        2,
        dict(type="mmdet.RandomCrop", crop_size=(128, 128), allow_negative_crop=True),
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    penalty, _ = runner.message_hub.get_scalar("train/bg_penalty_mean").data
    return runner.test(), penalty


@pytest.mark.usefixtures("on_cpu")  # chosen there
def test_the_penalty_quietens_the_background(root, noisy_data, tmp_path):
    loud, penalty_of_loud = train(
        LAMBDA_OF_BASELINE, root, noisy_data, tmp_path / "loud"
    )
    quiet, penalty = train(LAMBDA, root, noisy_data, tmp_path / "quiet")
    last = slice(-40, None)
    assert penalty[last].mean() < 0.9 * penalty.max()  # it falls
    assert penalty[last].mean() < 0.5 * penalty_of_loud[last].mean()
    key = "background/fp_per_empty_image_score0.02"
    assert loud[key] > 1
    assert quiet[key] < 0.6 * loud[key]
