"""Every recipe builds, and differs from the stock one in what is ours alone."""

import json
import operator
import re

import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DATASETS, HOOKS, MODELS, DefaultScope

from mmareaaware.ablation import Grid
from mmareaaware.datasets import ignore_aware
from mmareaaware.models import AreaWeighting, PosWeightedCrossEntropyLoss
from tests.conftest import ROOT

RECIPES = sorted(
    p.relative_to(ROOT).as_posix()
    for p in (ROOT / "configs").rglob("*.py")
    if not p.parent.name.startswith("_")
)
SEMI = [r for r in RECIPES if "_semi_" in r]  # tests/test_semi_recipes.py
OTHER_HEADS = ("yolox", "rtmdet", "ppyoloe")  # of mmyolo, by folder
OTHERS = [r for r in RECIPES if r.split("/")[1] in OTHER_HEADS]
YOLO = [r for r in RECIPES if "yolo" in r and r not in SEMI + OTHERS]
COCO = [r for r in YOLO if r.endswith("_coco.py")]
MMDET = [r for r in RECIPES if r not in YOLO + OTHERS + SEMI]
MMDET_COCO = [r for r in MMDET if r.endswith("_coco.py")]
GRIDS = {p.stem: Grid(p) for p in sorted((ROOT / "configs/_grids_").glob("*.py"))}
# Variables of configs/_base_/area_aware.py, which every recipe inherits.
PARTS = (
    "custom_imports",
    "area_aware_",
    "bg_max.",
    "bg_focal.",
    "rising_lambda_bg",
    "area_weighted.",
    "dense_",
)
# What a COCO recipe of ours may change, by dotted path.
OURS = (
    *PARTS,
    "model.data_preprocessor.type",
    "model.bbox_head.type",
    "model.bbox_head.loss_cls.type",
    "model.bbox_head.loss_cls.area_weight",
    "model.bbox_head.loss_bg",
    "model.train_cfg.assigner.type",
    "train_dataloader.collate_fn",
    "train_dataloader.dataset.pipeline",  # in ignore_aware's way, see the test
    "custom_hooks",
    "visualizer.vis_backends",
)
YOLO11 = (
    "yolo11_",
    "p2_",
    "model.backbone.",
    "model.neck.",
    "model.bbox_head.head_module.",
    "model.bbox_head.prior_generator.strides",
)
ABLATION = ("mean",)
ADAMW = (
    "base_lr",
    "optim_wrapper",
    "param_scheduler",
    "default_hooks.param_scheduler",
)


@pytest.fixture(autouse=True)
def _dump_without_yapf(monkeypatch):
    """It takes seconds to make a dumped config pretty."""
    monkeypatch.setattr(
        "mmengine.config.config.FormatCode", lambda text, **_: (f"{text}\n", True)
    )


@pytest.fixture(autouse=True)
def _places(monkeypatch, digits):
    monkeypatch.setenv("DATA_ROOT", str(digits))
    monkeypatch.setenv("CHECKPOINT", "epoch_40.pth")


def flatten(value, path="") -> dict:
    if isinstance(value, dict):
        items = {k: v for k, v in value.items() if k != "_scope_"}.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {path: value}
    result = {}
    for key, item in items:
        result.update(flatten(item, f"{path}.{key}" if path else str(key)))
    return result


@pytest.mark.parametrize("recipe", YOLO)
def test_yolo_recipes_build(recipe, tmp_path):
    cfg = Config.fromfile(ROOT / recipe)
    with torch.device("meta"):  # the shapes without the numbers
        model = MODELS.build(cfg.model)
    assert type(model.bbox_head).__name__ == "AreaAwareYOLOv8Head"
    hooks = [HOOKS.build(h) for h in cfg.custom_hooks]
    names = [type(h).__name__ for h in hooks]
    assert "CheckInvalidLossHook" in names
    assert ("LossParamSchedulerHook" in names) == (model.bbox_head.loss_bg is not None)
    assert cfg.optim_wrapper.clip_grad.max_norm == 10
    backends = [b.type for b in cfg.visualizer.vis_backends]
    assert "TensorboardVisBackend" in backends
    assert model.bbox_head.num_classes == cfg.model.train_cfg.assigner.num_classes
    cfg.dump(tmp_path / "dumped.py")  # as the Runner does, to be loaded again
    assert Config.fromfile(tmp_path / "dumped.py").model == cfg.model


@pytest.mark.parametrize("recipe", COCO)
def test_coco_recipes_change_only_what_is_ours(recipe):
    network, size = re.search(r"(yolov8|yolo11)_([nsmlx])", recipe).groups()
    stock = get_config(f"mmyolo::yolov8/yolov8_{size}_syncbn_fast_8xb16-500e_coco.py")
    cfg = Config.fromfile(ROOT / recipe)
    old, new = flatten(stock.to_dict()), flatten(cfg.to_dict())
    different = [k for k in old.keys() | new.keys() if old.get(k) != new.get(k)]
    assert "model.bbox_head.type" in different
    allowed = OURS
    allowed += YOLO11 if network == "yolo11" else ()
    allowed += ADAMW if "adamw" in recipe else ()
    allowed += ABLATION if "ablation" in recipe else ()
    assert [k for k in different if not k.startswith(allowed)] == []
    # Hooks are added, not replaced, and pipelines stay but for the ignored boxes
    stock_hooks = flatten(ignore_aware(stock.custom_hooks))
    assert stock_hooks.items() <= flatten(cfg.custom_hooks).items()
    ours, theirs = cfg.train_dataloader, stock.train_dataloader
    assert flatten(ours) == flatten(ignore_aware(theirs))


STOCK_OF_OTHERS = dict(
    yolox="yolox_s_fast_8xb8-300e_coco.py",
    rtmdet="rtmdet_s_syncbn_fast_8xb32-300e_coco.py",
    ppyoloe="ppyoloe_plus_s_fast_8xb8-80e_coco.py",
)


@pytest.mark.parametrize("recipe", OTHERS)
def test_recipes_of_mmyolos_other_heads_build(recipe, tmp_path):
    cfg = Config.fromfile(ROOT / recipe)
    # What is pretrained is loaded by init_weights, later
    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmyolo"):
        model = MODELS.build(cfg.model)
        hooks = [
            type(HOOKS.build({k: v for k, v in hook.items() if k != "priority"}))
            for hook in cfg.custom_hooks
        ]
    hooks = [hook.__name__ for hook in hooks]
    head = model.bbox_head
    assert type(head).__name__.startswith("AreaAware")
    assert (head.area_weight is not None) == ("area-aware" in recipe)
    assert (head.loss_bg is not None) == ("bg-max" in recipe)
    assert ("LossParamSchedulerHook" in hooks) == ("bg-max" in recipe)
    assert "CheckInvalidLossHook" in hooks
    if head.loss_bg is not None:
        assert head.loss_bg.loss_weight == head.loss_cls.loss_weight
    assert head.num_classes == (10 if "visdrone" in recipe else 80)
    for assigner in (head.assigner, getattr(head, "initial_assigner", None)):
        number = getattr(assigner, "num_classes", head.num_classes)
        assert number == head.num_classes
    assert cfg.train_dataloader.collate_fn.type == "ignore_aware_collate"
    assert "IgnoreAware" in type(model.data_preprocessor).__name__
    cfg.dump(tmp_path / "dumped.py")  # as the Runner does, to be loaded again
    assert Config.fromfile(tmp_path / "dumped.py").model == cfg.model


@pytest.mark.parametrize("recipe", [r for r in OTHERS if r.endswith("_coco.py")])
def test_recipes_of_mmyolos_other_heads_change_only_what_is_ours(recipe):
    folder = recipe.split("/")[1]
    stock = get_config(f"mmyolo::{folder}/{STOCK_OF_OTHERS[folder]}")
    cfg = Config.fromfile(ROOT / recipe)
    old, new = flatten(stock.to_dict()), flatten(cfg.to_dict())
    different = [k for k in old.keys() | new.keys() if old.get(k) != new.get(k)]
    allowed = (*OURS, "head_", "model.bbox_head.area_weight")
    assert "model.bbox_head.type" in different
    assert [k for k in different if not k.startswith(allowed)] == []
    stock_hooks = flatten(ignore_aware(stock.custom_hooks))
    assert stock_hooks.items() <= flatten(cfg.custom_hooks).items()
    ours, theirs = cfg.train_dataloader, stock.train_dataloader
    assert flatten(ours) == flatten(ignore_aware(theirs))


# The recipes on mmdet's. What each may change, beyond its losses and heads:
OURS_ON_MMDET = (
    *PARTS,
    "pos_weighted_",
    "detection_monitor.",
    "custom_hooks",
    "visualizer.vis_backends",
    "optim_wrapper.clip_grad",
    "model.rpn_head.loss_cls.",
    "model.roi_head.bbox_head.",
    "model.train_cfg.",
)
SWIN = ("model.backbone.", "model.neck.", "optim_wrapper.", "param_scheduler.")


def stock_of(recipe: str):
    """mmdet's recipe that ours is built on."""
    folder, _, name = recipe.rpartition("/")
    family = folder.split("/")[1]
    algorithm = name.split("_")[0]
    if name.startswith("mask-rcnn_swin-t"):
        return get_config("mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py")
    if "bg-max" in name:
        return get_config(
            f"mmdet::{family}/{re.sub('(area-aware_)?bg-max_', '', name)}"
        )
    return get_config(f"mmdet::{family}/{algorithm}_r50_fpn_1x_coco.py")


def classifying_heads(model) -> list:
    """RPN and RoI box heads, or the one head."""
    if not hasattr(model, "roi_head"):
        return [model.bbox_head]
    box_heads = model.roi_head.bbox_head
    is_cascade = isinstance(box_heads, torch.nn.ModuleList)
    return [model.rpn_head, *(box_heads if is_cascade else [box_heads])]


@pytest.mark.parametrize("recipe", MMDET)
def test_mmdet_recipes_build(recipe, tmp_path):
    cfg = Config.fromfile(ROOT / recipe)
    device = "cpu" if "swin" in recipe else "meta"  # shapes without the numbers
    with torch.device(device), DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model)
        hooks = [type(HOOKS.build(h)).__name__ for h in cfg.custom_hooks]
    if "dino" in recipe:  # no detector of the monitor's, and it clips gradients itself
        assert hooks[-1] == "CheckInvalidLossHook"
        assert cfg.optim_wrapper.clip_grad.max_norm == 0.1
    else:
        assert hooks[-2:] == ["CheckInvalidLossHook", "DetectionMonitorHook"]
        assert cfg.optim_wrapper.clip_grad.max_norm == 10
    assert "TensorboardVisBackend" in [b.type for b in cfg.visualizer.vis_backends]
    heads = classifying_heads(model)
    is_weighted = [isinstance(h.loss_cls, PosWeightedCrossEntropyLoss) for h in heads]
    if "rpn-focal" in recipe:
        assert is_weighted == [False, True]
    elif "pos-weighted" in recipe:
        assert all(is_weighted)
        assert [h.loss_cls.pos_weight for h in heads] == [5] + [3] * (len(heads) - 1)
        assert [h.loss_cls.use_sigmoid for h in heads] == [True] + [False] * (
            len(heads) - 1
        )
    weights = [h.area_weight for h in heads if isinstance(h, AreaWeighting)]
    assert len([w for w in weights if w]) == len(heads) * ("area-aware" in recipe)
    has_penalty = any(getattr(h, "loss_bg", None) is not None for h in heads)
    assert has_penalty == ("LossParamSchedulerHook" in hooks) == ("bg-max" in recipe)
    if has_penalty:
        assert heads[0].loss_bg.loss_weight == heads[0].loss_cls.loss_weight == 1
    data = recipe.rpartition("_")[2]
    num_classes = {"coco.py": 80, "visdrone.py": 10, "digits.py": 10}[data]
    of_boxes = [head for head in heads if not isinstance(head, RPNHead)]
    assert all(head.num_classes == num_classes for head in of_boxes)
    cfg.dump(tmp_path / "dumped.py")  # as the Runner does, to be loaded again
    assert Config.fromfile(tmp_path / "dumped.py").model == cfg.model


@pytest.mark.parametrize("recipe", MMDET_COCO)
def test_mmdet_coco_recipes_change_only_what_is_ours(recipe):
    old = flatten(stock_of(recipe).to_dict())
    new = flatten(Config.fromfile(ROOT / recipe).to_dict())
    different = [k for k in old.keys() | new.keys() if old.get(k) != new.get(k)]
    allowed = OURS_ON_MMDET
    if "area-aware" in recipe:
        heads = ("rpn_head", "roi_head", "bbox_head")
        allowed += tuple(f"model.{h}.type" for h in heads)
        allowed += tuple(f"model.{h}.area_weight." for h in heads)
    if "bg-max" in recipe:
        allowed += tuple(f"model.bbox_head.{k}" for k in ("type", "loss_bg", "area_w"))
    if "faster-rcnn_swin" in recipe:
        allowed += SWIN
    assert [k for k in different if not k.startswith(allowed)] == []
    changed = {
        "pos-weighted": "loss_cls.pos_weight",
        "area-aware": "area_weight.type",
        "ohem": "train_cfg.rcnn.sampler.type",
        "rpn-focal": "rpn_head.loss_cls.gamma",
    }
    for part, key in changed.items():
        is_changed = any(k.startswith("model.") and k.endswith(key) for k in different)
        assert is_changed == (part in recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        "coco_folder/yolov8_n_bg-max_1xb8-crop256-40e_coco-folder.py",
        "demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py",
        "demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py",
    ],
)
def test_validation_knows_the_ignored_boxes(recipe, digits, tmp_path):
    """Else what is found inside of them were false alarms."""
    annotations = json.loads((digits / "annotations/val.json").read_text())
    annotations["annotations"][0]["iscrowd"] = 1
    (tmp_path / "val.json").write_text(json.dumps(annotations))
    cfg = Config.fromfile(ROOT / "configs" / recipe)
    dataset = cfg.test_dataloader.dataset
    dataset.update(data_root=f"{digits}/", ann_file=str(tmp_path / "val.json"))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        samples = [item["data_samples"] for item in DATASETS.build(dataset)]
    assert sum(len(sample.ignored_instances) for sample in samples) == 1


def layer_below(name: str) -> str:
    """The recipe without the last of: penalty, area weight."""
    if "area-aware_" in name:
        return name.replace("area-aware_", "")
    return re.sub(r"bg-(max|focal)(-[\d.]+)?_", "", name)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_layer_inherits_the_one_below(recipe):
    """Nothing that a recipe inherits is undone."""
    path = ROOT / recipe
    text = path.read_text()
    assert "area_weight=None" not in text
    assert "loss_bg=None" not in text
    assert not re.search(r"custom_hooks\[\d", text)
    below = layer_below(path.name)
    candidates = {below, re.sub(r"_(\dxb)", r"_baseline_\1", below)} - {path.name}
    bases = [f"./{name}" for name in candidates if (path.parent / name).exists()]
    if bases and "_base_ = [" not in text:
        assert re.search(r'^_base_ = "(.*)"$', text, re.MULTILINE)[1] in bases


def hooks_of(cfg, type: str) -> list:
    return [hook for hook in cfg.custom_hooks if hook.type == type]


@pytest.mark.parametrize("recipe", YOLO)
def test_layers(recipe):
    """What a name says is in the recipe, and nothing else."""
    cfg = Config.fromfile(ROOT / recipe)
    head = cfg.model.bbox_head
    mode = re.search(r"bg-(max|focal)", recipe)
    assert head.get("loss_bg", dict(mode=None))["mode"] == (mode and mode[1])
    weight = head.loss_cls.area_weight
    assert (weight is not None) == ("area-aware" in recipe)
    (schedule,) = hooks_of(cfg, "LossParamSchedulerHook") or [None]
    assert (schedule is not None) == (mode is not None)
    published = re.search(r"bg-(?:max|focal)-([\d.]+)", recipe)
    if schedule:
        assert "max_value" not in schedule
        lambda_bg = float(published[1]) if published else None
        assert head.loss_bg.get("lambda_bg") == lambda_bg
        published_form = head.loss_bg.get("normalizer") == "background"
        assert published_form == (published is not None)
    assert cfg.train_dataloader.collate_fn.type == "ignore_aware_collate"


@pytest.mark.parametrize("recipe", [r for r in YOLO if "visdrone" in r])
def test_visdrone_switches_its_pipeline_at_its_own_end(recipe):
    cfg = Config.fromfile(ROOT / recipe)
    (switch,) = hooks_of(cfg, "mmdet.PipelineSwitchHook")
    assert switch.switch_epoch == 290
    assert cfg.train_cfg.dynamic_intervals == [(290, 1)]
    assert "IgnoreAwareRandomAffine" in str(switch.switch_pipeline)


def test_the_ablation_differs_in_the_penalty_alone():
    recipes = [r for r in COCO if "ablation" in r]
    values, models = {}, []
    for recipe in recipes:
        cfg = Config.fromfile(ROOT / recipe)
        loss_bg = cfg.model.bbox_head.pop("loss_bg", dict(mode=None, lambda_bg=0))
        assert len(hooks_of(cfg, "LossParamSchedulerHook")) == bool(loss_bg["mode"])
        name = recipe.split("yolov8_s_")[1].split("_")[0]
        values[name] = (loss_bg["mode"], loss_bg["lambda_bg"])
        models.append(cfg.model)
    assert all(model == models[0] for model in models)
    assert values == {
        "baseline": (None, 0),
        # as published
        "bg-max-1.0": ("max", 1.0),
        "bg-focal-1.0": ("focal", 1.0),
        "bg-max-1.5": ("max", 1.5),
        # and ones that are felt
        "bg-max-300": ("max", 300),
        "bg-max-1000": ("max", 1000),
        "bg-focal-1000": ("focal", 1000),
        "bg-max-3000": ("max", 3000),
    }


@pytest.mark.parametrize("readme", sorted((ROOT / "configs").glob("*/README.md")))
def test_the_readme_of_a_folder_has_all_its_recipes(readme):
    text = readme.read_text()
    linked = set(re.findall(r"\]\(([^)]*\.py)\)", text))
    there = {
        p.relative_to(readme.parent).as_posix() for p in readme.parent.rglob("*.py")
    }
    assert linked == there
    assert text.count("\n| ---") == 1  # one table


def test_every_folder_has_a_readme():
    folders = {ROOT / "configs" / r.split("/")[1] for r in RECIPES}
    assert [f for f in folders if not (f / "README.md").exists()] == []


def test_numbers_in_the_readmes_of_folders_are_those_of_the_results():
    results = (ROOT / "docs/results.md").read_text()
    numbers = {
        number
        for readme in (ROOT / "configs").glob("*/README.md")
        for number in re.findall(r"\d+\.\d+ ± \d+\.\d+", readme.read_text())
    }
    assert numbers
    assert [number for number in numbers if number not in results] == []


@pytest.mark.parametrize("grid", [g for g in GRIDS if "from-coco" in g])
def test_a_bed_with_copies_has_the_pipeline_of_its_recipe(grid):
    stock, with_copies = (
        flatten([t for t in pipeline if t.type != "SmallObjectCopyPaste"])
        for setting in ("baseline", "paste")
        for pipeline in [
            GRIDS[grid].load(setting, seed=0).train_dataloader.dataset.pipeline
        ]
    )
    assert with_copies == stock


@pytest.mark.parametrize(
    ("grid", "setting"),
    [
        (grid, setting)
        for grid in GRIDS
        for setting in GRIDS[grid].settings
        if not grid.startswith("semi_")  # tests/test_semi_grid.py
    ],
)
def test_settings_of_the_grids_build(grid, setting):
    baseline = GRIDS[grid].baseline
    cfg = GRIDS[grid].load(setting, seed=0)
    without = GRIDS[grid].load(baseline, seed=0)
    both = ((c.model, c.train_dataloader) for c in (cfg, without))
    assert operator.eq(*both) == (setting == baseline)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    hooks = [HOOKS.build(hook) for hook in cfg.custom_hooks]
    scheduled = [h for h in hooks if type(h).__name__ == "LossParamSchedulerHook"]
    assert len(scheduled) == (model.bbox_head.loss_bg is not None)
    counted = "ClassCountsHook" in [type(hook).__name__ for hook in hooks]
    assert counted == model.bbox_head.loss_cls.awaits_class_counts
