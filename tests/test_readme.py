"""The block of the README, in a project that has nothing of ours but the package."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope

from tests.detectors import detector_batch, training_step
from tests.pages import blocks


@pytest.fixture
def block() -> str:
    (block,) = blocks("README.md", "python")
    return block


def test_it_is_short(block):
    assert len(block.splitlines()) < 15


def test_it_trains(block, tmp_path):
    (tmp_path / "config.py").write_text(block)
    cfg = Config.fromfile(tmp_path / "config.py")
    model = MODELS.build(cfg.model).train()
    assert cfg.custom_hooks[0].type == "EMAHook"  # kept
    hook = HOOKS.build(cfg.custom_hooks[-1])
    hook.find(model)
    assert [hook.value_at(e) for e in (3, 5, 10, 400)] == [0.0, 2.0, 7.0, 10.0]
    model.bbox_head.loss_bg.lambda_bg = hook.value_at(8)
    batch = dict(
        inputs=torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8),
        data_samples=dict(bboxes_labels=torch.tensor([[0, 1, 8, 8, 30, 40.0]])),
    )
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    losses = model.train_step(batch, optimizer)
    assert losses["loss_bg"] > 0
    assert "bg_penalty_mean" in losses


def test_the_two_stage_block_trains(tmp_path):
    (block,) = blocks("docs/two_stage.md", "python")
    (tmp_path / "config.py").write_text(block)
    cfg = Config.fromfile(tmp_path / "config.py")
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model).train()
        HOOKS.build(cfg.custom_hooks[-1])
    losses, _ = training_step(model, detector_batch((3,)))
    assert {"rpn_area_weight_mean", "area_weight_mean"} < losses.keys()
    assert model.rpn_head.loss_cls.pos_weight == 5
    assert model.rpn_head.loss_cls.use_sigmoid
    assert model.roi_head.bbox_head.loss_cls.pos_weight == 3
