"""A semi-supervised recipe, killed and resumed, in processes of their own."""

import json
from itertools import chain

import pytest
import torch
from mmengine.config import Config

from mmareaaware.datasets.split_semi import take_images
from tests.conftest import ROOT
from tests.semi import build
from tests.test_tools.test_train import (
    assert_equal_where_resumed,
    command,
    kill_at_checkpoint,
    run,
)

RECIPE = ROOT / "configs/semi/yolov8_n_semi_bg-max_1xb16-24e_digits.py"
THRESHOLDS = dict(type="ClassCountThresholds", high=0.7, low=0.3)


@pytest.fixture
def config(digits, tmp_path):
    """Of a training of seconds: four epochs of three iterations."""
    cfg = Config.fromfile(RECIPE)
    content = json.loads((digits / "annotations/train.json").read_text())
    datasets = cfg.train_dataloader.dataset.datasets
    for dataset, ids in zip(datasets, ({0, 1, 2}, {3, 4, 5, 6, 7, 8}), strict=True):
        ann_file = tmp_path / f"{len(ids)}.json"
        ann_file.write_text(json.dumps(take_images(content, ids)))
        dataset.update(data_root=f"{digits}/", ann_file=str(ann_file))
    cfg.train_dataloader.batch_size = 4
    cfg.train_cfg.max_epochs = 4
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.logger.interval = 1
    cfg.randomness.deterministic = True
    for hook in cfg.custom_hooks:
        if hook.type == "LossParamSchedulerHook":
            hook.update(burn_in=1, warmup=2)
        if hook.type == "PseudoLabelMonitorHook":
            hook.interval = 1
    detector = cfg.model.detector
    for part in (detector.backbone, detector.neck, detector.bbox_head.head_module):
        part.widen_factor = 0.125
    cfg.model.pseudo_labels = dict(thresholds=THRESHOLDS)
    cfg.load_from = str(tmp_path / "start.pth")
    start = build(detector)  # which finds something
    torch.save(dict(state_dict=start.state_dict()), cfg.load_from)
    cfg.dump(tmp_path / "config.py")
    return tmp_path / "config.py"


def test_killed_in_the_burn_in_and_after_it(root, config, tmp_path):
    def train(name, *arguments):
        folder = ("--work-dir", tmp_path / name)
        return command(root, "train.py", config, *folder, *arguments)

    run(train("whole"))
    kill_at_checkpoint(train("killed"), tmp_path / "killed", epoch=1)
    kill_at_checkpoint(train("killed", "--resume"), tmp_path / "killed", epoch=3)
    run(train("killed", "--resume"))
    parts = assert_equal_where_resumed(tmp_path / "whole", tmp_path / "killed")
    assert [part[0]["lambda_u"] for part in parts] == [0, 2]
    thresholds = [
        line["pseudo_threshold"] for line in chain(*parts) if line.get("pseudo_boxes")
    ]
    assert len(set(thresholds)) > 1
