"""Every Python block of README and pages: trained, run, or checked as a config."""

import re
from pathlib import Path

import pytest
import torch
from mmengine import registry
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mmareaaware.ablation import Grid
from tests.detectors import detector_batch
from tests.pages import NAMES, ROOT, blocks

from .checked_config import REGISTRIES, check_config

BLOCKS = [
    pytest.param(name, index, id=f"{name}-{index}")
    for name in NAMES
    for index in range(len(blocks(name, "python")))
]
STOCK = "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"


@pytest.fixture
def _registered_for_a_test():
    """What a block registers is gone after it."""
    before = {k: set(getattr(registry, k).module_dict) for k in REGISTRIES}
    yield
    for key, names in before.items():
        modules = getattr(registry, key).module_dict
        for name in set(modules) - names:
            del modules[name]


def test_pages_have_blocks():
    assert len(BLOCKS) > 25


@pytest.mark.usefixtures("_registered_for_a_test")
@pytest.mark.parametrize(("name", "index"), BLOCKS)
def test_block(name, index, digits, tmp_path, monkeypatch):
    code = blocks(name, "python")[index]
    path = tmp_path / "block.py"
    path.write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(digits))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    if code.startswith("_base_"):
        train_a_step(Config.fromfile(path), digits)
    elif code.startswith("base ="):
        grid = Grid(path)
        for setting in grid.settings:
            (tmp_path / "run.py").write_text(grid.config_text(setting, 0, tmp_path))
            MODELS.build(Config.fromfile(tmp_path / "run.py").model)
    else:
        run(name, index, code)


def run(name: str, index: int, code: str) -> None:
    """Execute a block, in the company of the classes above it, and look at it."""
    Path("my_config.py").write_text(f'_base_ = "{STOCK}"\n')
    space = {"__name__": "my_parts"} | a_batch()
    for earlier in blocks(name, "python")[:index]:
        if "\nclass " in earlier:
            exec(compile(earlier, name, "exec"), space)
    before = {*space, "__builtins__"}
    exec(compile(code, name, "exec"), space)
    made = {key: value for key, value in space.items() if key not in before}
    if not re.search(r"\nclass |^from ", code):
        values = [v for v in made.values() if isinstance(v, (dict, list))]
        assert check_config(values) > 0, "nothing to check in this block"
    if isinstance(made.get("loss"), Tensor):
        made["loss"].backward()


def a_batch() -> dict[str, Tensor]:
    """What the blocks with functions take."""
    targets = torch.zeros(2, 100, 10)
    targets[0, 7, 3] = 0.8
    logits = torch.zeros(2, 100, 10, requires_grad=True)
    return dict(logits=logits, targets=targets, areas=torch.full((2, 100), 144.0))


def train_a_step(cfg: Config, digits: Path) -> None:
    """Of the model of a config, with its hooks built."""
    scope = cfg.default_scope
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model).train()
        for hook in cfg.get("custom_hooks", []):
            hook.pop("priority", None)  # the runner's
            HOOKS.build(hook)
        model.data_preprocessor.batch_augments = None
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
        if scope == "mmdet":
            losses = model.train_step(detector_batch((3,)), optimizer)
        else:
            batch = next(iter(loader_of(cfg, digits)))
            batch["inputs"] = batch["inputs"].float()  # as YOLOX's batch augment has it
            losses = model.train_step(batch, optimizer)
    assert all(torch.isfinite(value).all() for value in losses.values())


def loader_of(cfg: Config, digits: Path) -> DataLoader:
    """The training images of a config, two at a time; for one of COCO the digits."""
    loader = cfg.train_dataloader
    dataset = loader.dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    if dataset.data_root != str(digits):
        dataset.update(
            data_root=f"{digits}/",
            ann_file="annotations/train.json",
            data_prefix=dict(img="train/"),
            metainfo=dict(classes=tuple("0123456789")),
        )
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    return Runner.build_dataloader(loader, seed=0)
