"""Whole semi-supervised trainings of seconds: teacher, phases, log, resuming."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmareaaware.engine import SemiMeanTeacherHook
from tests.conftest import ROOT
from tests.processes import run_tool
from tests.semi import FIXED, build, detector_config, semi_batch, semi_config

TOOL = ROOT / "tools/model_converters/teacher_to_detector.py"
PHASES = dict(
    type="LossParamSchedulerHook",
    param="lambda_u",
    schedule="step",
    max_value=2.0,
    burn_in=1,
    warmup=1,
)
CLASSES = ("a", "b", "c")
ITERS = 2  # an epoch


class Data(Dataset):
    """Batches of two labelled and two unlabelled images."""

    def __init__(self):
        self.metainfo = dict(classes=CLASSES)
        self.items = []
        for seed in range(ITERS):
            batch = semi_batch(seed=seed)
            for i in range(4):
                self.items.append(
                    {k: {b: x[i] for b, x in v.items()} for k, v in batch.items()}
                )

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        from copy import deepcopy

        return deepcopy(self.items[index])


def make_runner(
    path,
    epochs=4,
    hooks=(),
    phases=PHASES,
    thresholds=FIXED,
    save_best=None,
    **settings,
):
    model = build(semi_config(pseudo_labels=dict(thresholds=thresholds)))
    model._is_init = True  # keep these weights
    with torch.no_grad():  # a teacher of nobody
        for parameter in model.teacher.parameters():
            parameter.zero_()
    hooks = [dict(type="SemiMeanTeacherHook", momentum=0.3), *hooks]
    return Runner(
        model,
        work_dir=str(path),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        train_dataloader=dict(
            dataset=Data(),
            batch_size=4,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="pseudo_collate"),
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-4)),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=1),
            checkpoint=dict(type="CheckpointHook", interval=1, save_best=save_best),
        ),
        custom_hooks=[
            *([phases] if phases else []),
            dict(type="SemiPhaseHook"),
            *hooks,
        ],
        default_scope="mmdet",
        experiment_name=f"{path.name}-{id(model)}",
        randomness=dict(seed=0, deterministic=True),
        **settings,
    )


class Students:
    """Keeps the student before and after each iteration."""

    def __init__(self, runner):
        self.seen = []
        step = runner.model.train_step

        def train_step(*args, **kwargs):
            self.seen.append(clone(runner.model))
            result = step(*args, **kwargs)
            self.seen.append(clone(runner.model))
            return result

        runner.model.train_step = train_step


def clone(model):
    return {k: v.clone().double() for k, v in model.state_dict().items()}


def test_the_teacher_is_the_mean_of_the_students(tmp_path):
    runner = make_runner(tmp_path)
    students = Students(runner).seen
    runner.train()
    for i in range(2 * ITERS):  # the burn-in: nothing has touched it
        name = "teacher.backbone.stem.conv.weight"
        assert not students[i][name].any()
    first = ITERS
    names = [n for n in students[0] if n.startswith("student.")]
    statistics = [n for n in names if n.endswith(("running_mean", "running_var"))]
    assert statistics
    for name in names:
        teacher = students[2 * first][name]  # the copy at the end of the burn-in
        theirs = "teacher." + name.removeprefix("student.")
        assert torch.equal(students[2 * first][theirs], teacher), name
        for k, iteration in enumerate(range(first, 4 * ITERS), start=1):
            student = students[2 * iteration + 1][name]
            m = max(0.3, 1 / (k + 1))
            teacher = (1 - m) * teacher + m * student
            if name.endswith("num_batches_tracked"):
                teacher = student
        final = runner.model.state_dict()[theirs].double()
        torch.testing.assert_close(final, teacher, rtol=1e-4, atol=1e-6, msg=name)


def test_phases_and_totals_are_logged(tmp_path):
    bg = dict(
        PHASES, param="student.bbox_head.loss_bg.lambda_bg", burn_in=2, max_value=1.0
    )
    monitor = dict(type="PseudoLabelMonitorHook", interval=1)
    picture = dict(type="PseudoLabelPictureHook", interval=3)
    runner = make_runner(tmp_path, hooks=[bg, monitor, picture])
    runner.train()
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["phase"] for row in rows] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert [row["lambda_u"] for row in rows] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert len([key for key in rows[0] if "lambda_u" in key or "weight" in key]) == 1
    assert [row["lambda_bg"] for row in rows] == [0] * 4 + [0.5] * 2 + [1] * 2
    for row in rows[:ITERS]:
        assert row["loss_unsup"] == 0
        assert "pseudo_boxes" not in row
    row = rows[-1]
    assert row["loss_unsup"] > 0
    assert row["pseudo_boxes"] == pytest.approx(
        sum(row[f"pseudo_boxes_{name}"] for name in CLASSES)
    )
    assert row["pseudo_boxes"] > 0
    assert row["uncertain_boxes"] > 0
    assert 0.8 <= row["pseudo_score"] <= 1
    assert row["pseudo_threshold_a"] == pytest.approx(0.8)
    assert 0 <= row["pseudo_precision"] <= 1
    assert 0 <= row["pseudo_recall"] <= 1
    (text,) = tmp_path.glob("*/*.log")
    lines = [line for line in text.read_text().splitlines() if "lambda_u =" in line]
    assert len(lines) == 3
    assert "burn-in" in lines[0]
    pictures = sorted(path.name for path in tmp_path.glob("*/vis_data/*/*.png"))
    assert pictures == ["epoch_3.png"]


MOVING = {
    "class counts": dict(type="ClassCountThresholds", high=0.7, low=0.3),
    "F1": dict(type="F1Thresholds", high=0.7, interval=3, momentum=0.5),
}


@pytest.mark.parametrize("thresholds", MOVING.values(), ids=list(MOVING))
def test_killed_and_resumed_is_uninterrupted(thresholds, tmp_path):
    whole = make_runner(tmp_path / "whole", thresholds=thresholds)
    whole.train()
    expected = whole.model.state_dict()
    start = build(semi_config(pseudo_labels=dict(thresholds=thresholds))).state_dict()
    high = "pseudo_labeller.thresholds.high"
    assert not torch.equal(expected[high].cpu(), start[high])
    for epoch in (1, 2):  # the end of the burn-in, and after it
        runner = make_runner(
            tmp_path / f"from {epoch}",
            thresholds=thresholds,
            resume=True,
            load_from=str(tmp_path / f"whole/epoch_{epoch}.pth"),
        )
        runner.train()
        state = runner.model.state_dict()
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(state[name], value), (epoch, name)


def test_in_the_burn_in_the_teacher_is_the_student(tmp_path):
    runner = make_runner(tmp_path, epochs=1)
    runner.train()
    state = torch.load(tmp_path / "epoch_1.pth", weights_only=False)["state_dict"]
    for name in state:
        if name.startswith("student."):
            teacher = state["teacher." + name.removeprefix("student.")]
            assert torch.equal(state[name], teacher)

    target = tmp_path / "plain.pth"
    result = run_tool([TOOL, tmp_path / "epoch_1.pth", target], new=True)
    assert result.returncode == 0, result.stderr
    plain = build(detector_config(), seed=7)
    plain.load_state_dict(torch.load(target, weights_only=True)["state_dict"])
    for name, value in plain.state_dict().items():
        assert torch.equal(value, runner.model.student.state_dict()[name].cpu())
    result = run_tool([TOOL, target, tmp_path / "x.pth"])
    assert result.returncode == 1
    assert "error: no entry of the checkpoint begins with 'teacher.'" in result.stderr
    assert "Traceback" not in result.stderr


WRONG_HOOKS = {
    "EMAHook": "would average student and teacher",
    "MeanTeacherHook": "leaves BatchNorm's means",
    "PipelineSwitchHook": "no effect",
}


@pytest.mark.parametrize(("name", "words"), WRONG_HOOKS.items())
def test_hooks_that_go_wrong_silently_are_refused(name, words, tmp_path):
    hook = dict(type=name)
    if name == "PipelineSwitchHook":
        hook.update(switch_epoch=1, switch_pipeline=[])
    runner = make_runner(tmp_path, hooks=[hook])
    with pytest.raises(ValueError, match=words):
        runner.train()


@pytest.mark.parametrize("instead", [[], [dict(type="EMAHook")]], ids=["none", "EMA"])
def test_a_training_that_nothing_makes_a_teacher_in(instead, tmp_path):
    runner = make_runner(tmp_path, hooks=instead)
    (hook,) = (h for h in runner.hooks if isinstance(h, SemiMeanTeacherHook))
    runner.hooks.remove(hook)
    with pytest.raises(ValueError, match="nothing makes the teacher: add") as error:
        runner.train()
    assert ("would average student and teacher" in str(error.value)) == bool(instead)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (dict(momentum=0.0), "momentum"),
        (dict(momentum=1.5), "1.5"),
        (dict(schedule="linear"), "linear"),
        (dict(end_momentum=-1), "end_momentum"),
    ],
)
def test_wrong_settings_of_the_teacher(settings, word):
    with pytest.raises(ValueError, match=word):
        SemiMeanTeacherHook(**settings)


def test_momentum_falls_to_its_end():
    hook = SemiMeanTeacherHook(momentum=0.01, schedule="cosine", end_momentum=0.001)
    assert hook.momentum_at(1, 10_000) == 1 / 2
    assert hook.momentum_at(5000, 10_000) == pytest.approx(0.0055)
    assert hook.momentum_at(10_000, 10_000) == pytest.approx(0.001)


def test_the_cosine_ends_with_the_training():
    hook = SemiMeanTeacherHook(momentum=0.9, schedule="cosine", end_momentum=0.1)
    hook._first_iter, hook._phases = 100, SimpleNamespace(max_iters=200)
    momenta = []
    hook._update = lambda runner, momentum: momenta.append(momentum)
    for iteration in (99, 149, 199):  # the last of the burn-in, half-way, the last
        hook.after_train_iter(SimpleNamespace(iter=iteration), 0)
    assert momenta == pytest.approx([0.5, 0.1])
