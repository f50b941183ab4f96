import json
import math

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmareaaware.engine import LossParamSchedulerHook
from mmareaaware.models.losses import AreaAwareBCELoss, BgPenaltyLoss
from mmareaaware.models.losses.weighting import AreaWeighting

EPOCHS, ITERS = 7, 3
SCHEDULE = dict(max_value=2.0, burn_in=2, warmup=4)


def expected(schedule: str, step: int) -> float:
    """The formulas of the schedules, for SCHEDULE."""
    if step < 2:
        return 0.0
    x = min(1.0, (step - 2) / 4)
    return {
        "constant": 2.0,
        "linear": 2.0 * x,
        "cosine": 2.0 * (1 - math.cos(math.pi * x)) / 2,
        "step": 1.0 if x < 1 else 2.0,
    }[schedule]


class Weighting(AreaWeighting):
    """By area."""

    def __init__(self, strength: float = 1.0) -> None:
        self.set_area_weight(dict(type="PowerAreaWeight"), "mean", strength)


class Detector(BaseModel):
    """A model with losses where a detector has them; remembers the scheduled values."""

    def __init__(self, **loss_bg):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.bbox_head = nn.Module()
        self.bbox_head.loss_bg = BgPenaltyLoss(**loss_bg)
        self.bbox_head.loss_cls = AreaAwareBCELoss()
        self.bbox_head.weighting = Weighting()
        self.seen = []

    def forward(self, inputs, mode="tensor"):
        self.seen.append(self.bbox_head.loss_bg.lambda_bg)
        return dict(loss=self.layer(inputs).mean())


class Data(Dataset):
    def __len__(self):
        return ITERS

    def __getitem__(self, index):
        return dict(inputs=torch.ones(1))


def train(*hooks, tmp_path, epochs=EPOCHS, loss_bg=None, **settings):
    model = Detector(**(loss_bg or {}))
    settings.setdefault("train_cfg", dict(by_epoch=True, max_epochs=epochs))
    runner = Runner(
        model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=Data(),
            batch_size=1,
            sampler=dict(type="DefaultSampler"),
            collate_fn=dict(type="default_collate"),
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        custom_hooks=[dict(type="LossParamSchedulerHook", **hook) for hook in hooks],
        default_scope="mmengine",
        experiment_name=f"{tmp_path.name}-{id(model)}",
        **settings,
    )
    runner.train()
    return model, runner


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "step"])
def test_every_epoch_of_a_run(schedule, tmp_path):
    model, runner = train(dict(schedule=schedule, **SCHEDULE), tmp_path=tmp_path)
    values = [expected(schedule, e) for e in range(EPOCHS) for _ in range(ITERS)]
    assert model.seen == pytest.approx(values)
    assert model.seen[: 2 * ITERS] == [0.0] * 2 * ITERS  # burn-in
    logged, _ = runner.message_hub.get_scalar("train/lambda_bg").data
    assert logged.tolist() == pytest.approx(values)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "step"])
def test_every_iteration_of_a_run(schedule, tmp_path):
    model, _ = train(
        dict(schedule=schedule, by_epoch=False, **SCHEDULE), tmp_path=tmp_path
    )
    assert model.seen == pytest.approx(
        [expected(schedule, i) for i in range(EPOCHS * ITERS)]
    )


def test_a_resumed_run_goes_on_with_the_right_value(tmp_path):
    train(dict(schedule="linear", **SCHEDULE), tmp_path=tmp_path, epochs=4)
    model, _ = train(
        dict(schedule="linear", **SCHEDULE), tmp_path=tmp_path, resume=True
    )
    assert model.seen == pytest.approx(
        [expected("linear", e) for e in range(4, EPOCHS) for _ in range(ITERS)]
    )


def test_other_numbers_than_lambda(tmp_path):
    model, _ = train(
        dict(param="bbox_head.weighting.strength", max_value=1.0, warmup=EPOCHS - 1),
        tmp_path=tmp_path,
    )
    assert model.bbox_head.weighting.strength == 1.0
    assert model.seen == [5.0] * EPOCHS * ITERS


def test_no_warmup_is_the_full_value_at_once():
    for schedule in ("constant", "linear", "cosine", "step"):
        assert (
            LossParamSchedulerHook(
                schedule=schedule, burn_in=1, max_value=2.0
            ).value_at(1)
            == 2.0
        )


@pytest.mark.parametrize("loss_bg", [dict(), dict(lambda_bg=9.0)])
def test_by_default_it_rises_to_what_the_loss_was_given(loss_bg, tmp_path):
    model, _ = train(dict(warmup=2), tmp_path=tmp_path, loss_bg=loss_bg)
    full = loss_bg.get("lambda_bg", 5.0)
    assert model.seen[::ITERS] == [0.0, full / 2] + [full] * 5
    model, _ = train(dict(max_value=9.0), tmp_path=tmp_path, loss_bg=loss_bg)
    assert model.seen[0] == 9.0


def test_two_values_for_one_number_are_refused(tmp_path):
    message = r"lambda_bg is 9.0 .* max_value=2.0: leave max_value out of the hook"
    with pytest.raises(ValueError, match=message):
        train(SCHEDULE, tmp_path=tmp_path, loss_bg=dict(lambda_bg=9.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(schedule="exp"), "schedule must be one of .*'cosine'.* got 'exp'"),
        (dict(max_value=-1.0), "max_value must not be negative, got -1.0"),
        (dict(max_value=math.nan), "max_value must not be negative, got nan"),
        (dict(warmup=-3), "warmup must not be negative, got -3"),
        (dict(burn_in=-2), "burn_in must not be negative, got -2"),
        (dict(step_ratio=-0.5), "step_ratio must not be negative, got -0.5"),
    ],
)
def test_wrong_values_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        LossParamSchedulerHook(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            dict(param="bbox_head.loss_obj.lambda_bg"),
            r"no module 'loss_obj'.*'loss_bg'",
        ),
        (dict(param="bbox_head.loss_bg.lamda"), r"no number 'lamda'.*'lambda_bg'"),
        (dict(param="bbox_head.loss_bg"), r"no number 'loss_bg'"),
        (dict(param="bbox_head.weighting.strength", max_value=3.0), "got 3.0"),
    ],
)
def test_what_the_model_has_not_fails_before_the_first_iteration(
    settings, message, tmp_path
):
    with pytest.raises(ValueError, match=message):
        train(settings, tmp_path=tmp_path)


def test_the_strength_of_no_area_weight():
    loss = AreaAwareBCELoss(area_weight=None)
    model = nn.ModuleDict(dict(loss_cls=loss))
    hook = LossParamSchedulerHook("loss_cls.strength", warmup=3)
    with pytest.raises(ValueError, match="area_weight of AreaAwareBCELoss is None"):
        hook.find(model)
    loss.set_area_weight(dict(type="PowerAreaWeight"), "mean", 1.0)
    hook.find(model)
    assert hook.max_value == 1.0


def test_counting_epochs_where_there_are_none_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"by_epoch=True .* burn_in=2 and warmup=4"):
        train(SCHEDULE, tmp_path=tmp_path, train_cfg=dict(by_epoch=False, max_iters=9))


def test_a_value_that_never_leaves_zero_is_a_warning(tmp_path):
    train(dict(burn_in=9), tmp_path=tmp_path)
    (log,) = tmp_path.glob("*/*.log")
    assert "lambda_bg stays 0 to the end of this run: burn_in=9" in log.read_text()


def test_a_rise_to_zero_is_a_warning(tmp_path):
    train(dict(max_value=0.0, warmup=2), tmp_path=tmp_path)
    (log,) = tmp_path.glob("*/*.log")
    assert "end of this run: it would rise to 0, which is what" in log.read_text()


def test_two_hooks_on_numbers_of_one_name_log_both(tmp_path):
    paths = ("bbox_head.loss_cls.loss_weight", "bbox_head.loss_bg.loss_weight")
    hooks = [
        dict(param=path, schedule="constant", max_value=value)
        for path, value in zip(paths, (0.25, 0.75), strict=True)
    ]
    _, runner = train(*hooks, tmp_path=tmp_path)
    for path, value in zip(paths, (0.25, 0.75), strict=True):
        assert runner.message_hub.get_scalar(f"train/{path}").current() == value


def logged(tmp_path, name):
    """What stands in the JSON log of a run, iteration by iteration."""
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    return [json.loads(line)[name] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("hierarchy", [False, True])
@pytest.mark.parametrize(
    ("params", "name"),
    [
        (["bbox_head.loss_bg.loss_weight"], "loss_weight"),
        (
            ["bbox_head.loss_bg.loss_weight", "bbox_head.loss_cls.loss_weight"],
            "bbox_head.loss_bg.loss_weight",
        ),
    ],
)
def test_a_name_with_loss_in_it_is_logged_as_it_is(params, name, hierarchy, tmp_path):
    """MMEngine logs losses as their mean over the last iterations."""
    train(
        *(dict(param=param, **SCHEDULE) for param in params),
        tmp_path=tmp_path,
        log_processor=dict(log_with_hierarchy=hierarchy),
    )
    values = [expected("linear", e) for e in range(EPOCHS) for _ in range(ITERS)]
    assert logged(tmp_path, "train/" * hierarchy + name) == pytest.approx(values)


def test_a_statistic_that_the_config_asks_for_is_logged(tmp_path):
    lowest = dict(data_src="loss_weight", method_name="min", window_size="global")
    hook = dict(param="bbox_head.loss_bg.loss_weight", schedule="constant", burn_in=1)
    train(
        hook | dict(max_value=2.0),
        tmp_path=tmp_path,
        log_processor=dict(custom_cfg=[lowest]),
    )
    assert set(logged(tmp_path, "loss_weight")) == {0.0}


@pytest.mark.parametrize("burn_in", [EPOCHS - 1, EPOCHS])
def test_the_last_epoch_decides_about_the_warning(burn_in, tmp_path):
    train(dict(burn_in=burn_in), tmp_path=tmp_path)
    (log,) = tmp_path.glob("*/*.log")
    assert ("stays 0 to the end of this run" in log.read_text()) == (burn_in == EPOCHS)
