import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

import mmareaaware  # noqa: F401 (adds the hook to every run)


class Toy(BaseModel):
    """Its loss is the number of the iteration, from what is set on."""

    def __init__(self, penalty):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.penalty = penalty

    def forward(self, inputs, data_samples=None, mode="loss"):
        losses = dict(loss_cls=self.weight.sum() * 0 + self.step)
        if self.penalty:
            losses["loss_bg"] = losses["loss_cls"] + 100
        return losses


class Tell(Hook):
    """Hands the number of the iteration to the model, and what is rarely logged."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.step = float(runner.iter)
        if runner.model.penalty:
            runner.message_hub.update_scalar("train/lambda_bg", 1000.0)
        if runner.iter % 4 == 3:
            runner.message_hub.update_scalar("train/rare", runner.iter)


@pytest.fixture
def train(tmp_path):
    """Trains for some epochs of 3 iterations; the lines of its log."""

    def run(name, epochs, penalty=True, resume=None):
        work_dir = tmp_path / name
        Runner(
            Toy(penalty),
            str(work_dir),
            train_dataloader=dict(
                batch_size=1,
                dataset=[torch.zeros(1)] * 3,
                sampler=dict(type="DefaultSampler", shuffle=False),
                collate_fn=dict(type="pseudo_collate"),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=1),
                checkpoint=dict(type="CheckpointHook", interval=1),
            ),
            custom_hooks=[Tell()],
            default_scope="mmengine",
            experiment_name=f"{tmp_path.name}-{name}",
            load_from=resume and str(resume),
            resume=resume is not None,
        ).train()
        (log,) = work_dir.glob("*/vis_data/scalars.json")
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run


def test_a_run_without_penalty_logs_none(train, tmp_path, monkeypatch):
    train("with", 2)
    checkpoint = tmp_path / "with/epoch_2.pth"
    with monkeypatch.context() as stock:  # the problem
        stock.setattr(Runner, "register_hooks", Runner.register_hooks.__wrapped__)
        stale = train("stale", 4, penalty=False, resume=checkpoint)
    assert all({"loss_bg", "lambda_bg"} <= line.keys() for line in stale)
    lines = train("without", 4, penalty=False, resume=checkpoint)
    assert [line["step"] for line in lines] == list(range(7, 13))
    for line in lines:
        assert not {"loss_bg", "lambda_bg"} & line.keys()
    # Means over the window, whose beginning was resumed
    assert [line["loss_cls"] for line in lines] == [line["loss_cls"] for line in stale]
    assert "rare" not in lines[0]
    assert [line["rare"] for line in lines[1:]] == [7, 7, 7, 7, 11]


def test_it_changes_nothing_where_all_goes_on(train, tmp_path):
    whole = train("whole", 4)
    resumed = train("resumed", 4, resume=tmp_path / "whole/epoch_2.pth")
    for line, expected in zip(resumed, whole[6:], strict=True):
        for key in line.keys() - {"time", "data_time", "memory"}:
            assert line[key] == expected[key]
        assert {"loss_bg", "lambda_bg", "lr"} <= line.keys()
