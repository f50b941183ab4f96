"""Grids that compare semi-supervised trainings with what they must beat."""

from itertools import combinations

import pytest
import torch
from mmengine.registry import HOOKS, MODELS

from mmareaaware.ablation import Grid
from tests.conftest import ROOT

PATH = ROOT / "configs/_grids_/semi_coco_folder.py"
GRID = Grid(PATH)
SEMI = [name for name in GRID.settings if name.startswith("semi")]
SUPERVISED = [name for name in GRID.settings if name not in SEMI]


@pytest.fixture(autouse=True)
def _places(monkeypatch, digits):
    monkeypatch.setenv("DATA_ROOT", str(digits))
    monkeypatch.setenv("PERCENT", "20")
    monkeypatch.delenv("CHECKPOINT", raising=False)


def files(cfg) -> list[str]:
    dataset = cfg.train_dataloader.dataset
    parts = dataset.datasets if "datasets" in dataset else [dataset.dataset]
    return [part.ann_file for part in parts]


@pytest.mark.parametrize("setting", GRID.settings)
def test_the_fold_is_the_seed(setting):
    second = {"offline": ["-pseudo"], **{name: ["-unlabeled"] for name in SEMI}}
    for seed in GRID.seeds[:2]:
        cfg = GRID.load(setting, seed)
        assert files(cfg) == [
            f"semi_anns/train.{seed}@20{kind}.json"
            for kind in ("", *second.get(setting, []))
        ]
        assert cfg.randomness.seed == seed


@pytest.mark.parametrize("setting", GRID.settings)
def test_settings_build_and_train_as_long(setting):
    cfg = GRID.load(setting, 1)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert hasattr(model, "teacher") == (setting in SEMI)
    hooks = [HOOKS.build(hook) for hook in cfg.custom_hooks]
    scheduled = [hook for hook in hooks if hasattr(hook, "warmup")]
    assert len(scheduled) == (setting in SEMI) + ("bg-max" in setting)
    epochs = cfg.train_cfg.max_epochs
    for hook in scheduled:
        assert hook.burn_in == hook.warmup == epochs / 3
    names = [type(hook).__name__ for hook in hooks]
    assert ("EMAHook" in names) == (setting in SUPERVISED)
    cosines = [s for s in cfg.param_scheduler if s.type == "CosineAnnealingLR"]
    assert [s.T_max for s in cosines] == [epochs] * (setting in SUPERVISED)
    # Of 100 images 20 are labelled, and a step has 8 of them
    batch = cfg.train_dataloader.batch_size
    if "batch_sampler" in cfg.train_dataloader:
        assert cfg.train_dataloader.batch_sampler.source_ratio == [1, 1]
        assert batch == 16
        steps = 80 / 8
    else:
        steps = 20 * cfg.train_dataloader.dataset.times / batch
    assert steps == (2.5 if setting == "supervised_epochs" else 10)


def test_hooks_are_those_of_the_recipes():
    """A setting writes them anew, to change what is in them."""
    recipes = Grid(PATH)
    recipes.settings = {
        name: dict(base=f"../semi/yolov8_n_{name}_1xb16-crop256-40e_coco-folder.py")
        for name in ("semi", "semi_bg-max")
    }
    for name in recipes.settings:
        recipe = recipes.load(name, 1)
        assert GRID.load(name, 1).custom_hooks == recipe.custom_hooks
        assert GRID.load(name, 1).model == recipe.model


def test_no_setting_is_there_twice():
    keys = ("model", "custom_hooks", "optim_wrapper", "train_dataloader")
    configs = {setting: GRID.load(setting, 1) for setting in GRID.settings}
    seen = {setting: [cfg[key] for key in keys] for setting, cfg in configs.items()}
    twice = [(a, b) for a, b in combinations(seen, 2) if seen[a] == seen[b]]
    assert not twice
    assert GRID.baseline == "supervised"


def test_all_start_from_a_checkpoint_or_none(monkeypatch):
    rate = GRID.load("semi", 1).optim_wrapper.optimizer.lr
    assert all(GRID.load(s, 1).load_from is None for s in GRID.settings)
    monkeypatch.setenv("CHECKPOINT", "coco.pth")
    finetuned = Grid(PATH)
    for setting in finetuned.settings:
        cfg = finetuned.load(setting, 1)
        assert cfg.load_from == "coco.pth"
        assert cfg.optim_wrapper.optimizer.lr == rate / 2


def test_digits_are_the_recipes(monkeypatch):
    """Of the fold, and in the precision that the environment asks for."""
    monkeypatch.setenv("OPTIM_WRAPPER", "BFloat16OptimWrapper")
    grid = Grid(ROOT / "configs/_grids_/semi_digits.py")
    assert grid.baseline == "supervised"
    for name in grid.settings:
        cfg = grid.load(name, 2)
        assert cfg.optim_wrapper.type == "BFloat16OptimWrapper"
        assert files(cfg)[0] == "semi_anns/train.2@20.json"
        assert (cfg.model.type == "SemiYOLODetector") == name.startswith("semi")
        assert cfg.train_cfg.max_epochs == 24
