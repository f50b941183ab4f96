"""Every run is checked, with no hook in its config, by whatever starts it."""

import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmareaaware.preflight.hook import PreflightHook

DEMO = "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
PLAIN = dict(type="AreaAwareBCELoss", area_weight=None)


@pytest.fixture
def config(root, demo_options, tmp_path) -> Config:
    cfg = Config.fromfile(root / DEMO)
    cfg.merge_from_dict(demo_options)
    cfg.merge_from_dict({"work_dir": str(tmp_path), "train_cfg.max_epochs": 1})
    return cfg


def refused(cfg: Config, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Runner.from_cfg(cfg).train()


def test_a_run_has_the_check_once(config):
    hooks = Runner.from_cfg(config).hooks
    assert sum(isinstance(hook, PreflightHook) for hook in hooks) == 1


def test_nothing_is_trained_on_a_wrong_number_of_classes(config):
    config.model.bbox_head.head_module.num_classes = 4
    config.model.train_cfg.assigner.num_classes = 4
    refused(config, "model.bbox_head.num_classes is 4")


def test_all_that_is_wrong_is_said_at_once(config):
    head = config.model.bbox_head
    head.type = "YOLOv8Head"
    head.pop("loss_bg")
    head.loss_cls = dict(PLAIN, area_weight=dict(type="PowerAreaWeight"))
    head.head_module.num_classes = 4
    config.model.train_cfg.assigner.num_classes = 4
    with pytest.raises(ValueError, match="needs the areas") as error:
        Runner.from_cfg(config).train()
    assert "set model.bbox_head.type='AreaAwareYOLOv8Head'" in str(error.value)
    assert "outside 0...3" in str(error.value)


def test_the_penalty_in_a_stock_head_is_named_when_it_is_built(config):
    config.model.bbox_head.type = "YOLOv8Head"
    with pytest.raises(ValueError, match="YOLOv8Head has no background penalty: set "):
        Runner.from_cfg(config)


def test_two_schedules_of_one_number(config):
    config.custom_hooks.append(dict(type="LossParamSchedulerHook", max_value=9.0))
    refused(config, "two LossParamSchedulerHooks set bbox_head.loss_bg.lambda_bg")


def test_a_schedule_without_penalty(config):
    config.model.bbox_head.loss_bg = None
    refused(config, "take this LossParamSchedulerHook out of custom_hooks")


def test_a_loss_weight_other_than_the_recipe_s_is_a_warning(config, capsys):
    config.model.bbox_head.loss_cls = dict(PLAIN, reduction="none")
    Runner.from_cfg(config).train()
    assert "loss_weight=1.0, where AreaAwareYOLOv8Head has 0.5" in (
        capsys.readouterr().out + capsys.readouterr().err
    )
