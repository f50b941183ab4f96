"""Every run is checked, with no hook in its config, by whatever starts it."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from mmareaaware.preflight.checkpoint import checkpoint_findings
from mmareaaware.preflight.hook import PreflightHook

DEMO = "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
every_runner = pytest.mark.parametrize("runner", [Runner, FlexibleRunner])
PLAIN = dict(type="AreaAwareBCELoss", area_weight=None)


@pytest.fixture
def config(root, demo_options, tmp_path) -> Config:
    cfg = Config.fromfile(root / DEMO)
    cfg.merge_from_dict(demo_options)
    cfg.merge_from_dict({"work_dir": str(tmp_path), "train_cfg.max_epochs": 1})
    return cfg


def refused(cfg: Config, message: str, runner: type = Runner) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        runner.from_cfg(cfg).train()


@every_runner
def test_a_run_has_the_check_once(config, runner):
    hooks = runner.from_cfg(config).hooks
    assert sum(isinstance(hook, PreflightHook) for hook in hooks) == 1


@every_runner
def test_nothing_is_trained_on_a_wrong_number_of_classes(config, runner):
    config.model.bbox_head.head_module.num_classes = 4
    config.model.train_cfg.assigner.num_classes = 4
    refused(config, "model.bbox_head.num_classes is 4", runner)


@every_runner
def test_what_a_stock_head_does_not_take(config, runner):
    config.model.bbox_head.type = "YOLOv8Head"
    refused(config, "YOLOv8Head has no background penalty: set ", runner)


def test_another_runner_trains(config):
    FlexibleRunner.from_cfg(config).train()


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


@pytest.mark.parametrize(
    "param", ["bbox_head.loss_bg._lambda_bg", "bbox_head.also_loss_bg.lambda_bg"]
)
def test_two_schedules_of_one_number_on_two_paths(config, param):
    config.custom_hooks.append(dict(type="LossParamSchedulerHook", param=param))
    runner = Runner.from_cfg(config)
    runner.model.bbox_head.also_loss_bg = runner.model.bbox_head.loss_bg
    message = f"two LossParamSchedulerHooks set bbox_head.loss_bg.lambda_bg and {param}"
    with pytest.raises(ValueError, match=re.escape(message)):
        runner.train()


def test_a_schedule_without_penalty(config):
    config.model.bbox_head.loss_bg = None
    refused(config, "take this LossParamSchedulerHook out of custom_hooks")


def test_a_loss_weight_other_than_the_recipe_s_is_a_warning(config, capsys):
    config.model.bbox_head.loss_cls = dict(PLAIN, reduction="none")
    Runner.from_cfg(config).train()
    assert (
        "model.bbox_head.loss_cls: loss_weight=1.0, where the recipes of "
        "AreaAwareYOLOv8Head have 0.5: write loss_weight=0.5"
    ) in capsys.readouterr().out


def test_what_drops_ignored_boxes(config):
    config.model.data_preprocessor.type = "YOLOv5DetDataPreprocessor"
    pipeline = config.train_dataloader.dataset.pipeline
    places = [i for i, t in enumerate(pipeline) if t.type == "mmdet.LoadAnnotations"]
    pipeline[places[0]].type = "LoadAnnotations"
    with pytest.raises(ValueError, match="IgnoreAwareDetDataPreprocessor") as found:
        Runner.from_cfg(config).train()
    text = str(found.value)
    assert "YOLOv5DetDataPreprocessor drops the ignored boxes" in text
    assert f"pipeline.{places[0]}: MMYOLO's LoadAnnotations drops" in text
    config.train_dataloader.collate_fn.type = "yolov5_collate"
    Runner.from_cfg(config).train()


@pytest.fixture
def checkpoint(config, tmp_path):
    """Of the network of the config."""
    path = tmp_path / "start.pth"
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), path)
    config.load_from = str(path)
    return path


def test_a_start_from_other_classes_is_a_warning(config, checkpoint, tmp_path):
    content = torch.load(checkpoint)["state_dict"]
    for name, value in content.items():
        if "cls_preds" in name and name.endswith("2.bias"):
            content[name] = value[:4]
    torch.save(dict(state_dict=content), checkpoint)
    Runner.from_cfg(config).train()
    text = next(tmp_path.glob("*/*.log")).read_text()
    assert "load_from: 3 of " in text
    assert "cls_preds.0.2.bias (4,) there and (10,) here: they begin untrained" in text
    tested = Runner.from_cfg(config)
    with pytest.raises(ValueError, match=r"load_from: 3 of .* of other classes"):
        tested.test()


def test_a_start_from_another_network_is_refused(config, checkpoint):
    config.model.neck.widen_factor *= 2
    config.model.bbox_head.head_module.widen_factor *= 2
    refused(config, "it is of another network")
    config.model.backbone.widen_factor *= 2
    refused(config, "another size than in the model, backbone.stem.conv.weight (")


def test_a_teacher_starts_from_a_plain_detector():
    plain = {"backbone.weight": torch.zeros(2, 3)}
    semi = nn.ModuleDict(
        {
            name: nn.ModuleDict(dict(backbone=nn.Linear(3, 2, bias=False)))
            for name in ("student", "teacher")
        }
    )
    assert not list(checkpoint_findings(semi, plain, is_start=True))
    plain["backbone.weight"] = torch.zeros(4, 3)
    (finding,) = checkpoint_findings(semi, plain, is_start=True)
    assert "2 of 2 weights" in str(finding)
    assert finding.is_error


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("teacher.backbone.weight", "teacher_to_detector.py takes out the teacher"),
        ("model.0.conv.weight", "ultralytics_to_mmyolo.py converts"),
        ("net.weight", "Give the checkpoint of this config"),
    ],
)
def test_a_start_of_which_nothing_would_be_loaded(name, fix):
    model = nn.ModuleDict(dict(backbone=nn.Linear(3, 2)))
    for is_start in (False, True):
        (finding,) = checkpoint_findings(model, {name: torch.zeros(2, 3)}, is_start)
        assert finding.is_error
        assert f"none of the 1 weights of the checkpoint, {name} the" in str(finding)
        assert fix in str(finding)


def test_a_start_with_other_input_channels_is_a_warning():
    layers = [nn.Linear(4, 2), *(nn.Linear(2, 2) for _ in range(9))]
    model = nn.ModuleDict(dict(backbone=nn.Sequential(*layers)))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["backbone.0.weight"] = torch.zeros(2, 3)
    (finding,) = checkpoint_findings(model, state, is_start=True)
    assert not finding.is_error
    assert "1 of 20 weights" in str(finding)
    assert "channels of the images" in str(finding)
    (finding,) = checkpoint_findings(model, state, is_start=False)
    assert finding.is_error
    for i in (1, 2):
        state[f"backbone.{i}.weight"] = torch.zeros(3, 3)
    (finding,) = checkpoint_findings(model, state, is_start=True)
    assert finding.is_error
