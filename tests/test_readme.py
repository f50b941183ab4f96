"""The README's config block, in a project that has nothing of ours but the package."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope

from tests.detectors import detector_batch, training_step


@pytest.fixture
def blocks(root) -> list[str]:
    text = (root / "README.md").read_text()
    return re.findall(r"test_readme.py[^\n]*\n```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def block(blocks) -> str:
    return blocks[0]


def test_it_is_short(block):
    assert len(block.splitlines()) < 15


def test_it_trains(block, tmp_path):
    (tmp_path / "config.py").write_text(block)
    cfg = Config.fromfile(tmp_path / "config.py")
    model = MODELS.build(cfg.model).train()
    assert cfg.custom_hooks[0].type == "EMAHook"  # kept
    hook = HOOKS.build(cfg.custom_hooks[-1])
    assert [hook.value_at(e) for e in (0, 5, 10, 400)] == [0.0, 2.5, 5.0, 5.0]
    model.bbox_head.loss_bg.lambda_bg = hook.value_at(8)
    batch = dict(
        inputs=torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8),
        data_samples=dict(bboxes_labels=torch.tensor([[0, 1, 8, 8, 30, 40.0]])),
    )
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    losses = model.train_step(batch, optimizer)
    assert losses["loss_bg"] > 0
    assert "bg_penalty_mean" in losses


def test_the_two_stage_block_trains(blocks, tmp_path):
    (tmp_path / "config.py").write_text(blocks[1])
    cfg = Config.fromfile(tmp_path / "config.py")
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model).train()
        HOOKS.build(cfg.custom_hooks[-1])
    losses, _ = training_step(model, detector_batch((3,)))
    assert {"rpn_area_weight_mean", "area_weight_mean"} < losses.keys()
    assert model.rpn_head.loss_cls.pos_weight == 5
    assert model.rpn_head.loss_cls.use_sigmoid
    assert model.roi_head.bbox_head.loss_cls.pos_weight == 3


def test_files_and_types_that_it_names_exist(root):
    from mmengine import registry

    text = (root / "README.md").read_text()
    for path in re.findall(
        r"(?:configs|tools|mmareaaware|requirements)/[\w./-]*", text
    ):
        assert (root / path.rstrip(".")).exists(), path
    registered = set()
    for name in ("MODELS", "TASK_UTILS", "HOOKS", "METRICS", "DATASETS"):
        registered |= set(getattr(registry, name).module_dict)
    types = re.findall(r"`(\w+(?:Loss|Weight|Margin|Hook|Head|Metric))`", text)
    assert len(types) > 10
    assert set(types) <= registered
