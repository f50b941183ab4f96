"""Copies of small objects, switched on wherever a training loads its annotations."""

from itertools import pairwise

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner, set_random_seed

from mmareaaware import switch_on
from mmareaaware.model_config import parts
from mmareaaware.switching import SwitchError

from .conftest import RETINANET, YOLOV8

COPIES = dict(type="SmallObjectCopyPaste", prob=1.0)
# How many pipelines load annotations: of the data, in Mosaic, and in the last epochs
RECIPES = {
    YOLOV8: 3,
    RETINANET: 1,
    "mmdet::yolox/yolox_s_8xb8-300e_coco.py": 1,
    "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py": 1,
}


@pytest.mark.parametrize(("recipe", "number"), RECIPES.items())
def test_behind_each_loader(recipe, number, stock):
    cfg = stock(recipe)
    changes = switch_on(cfg, copy_paste=True)
    assert [c.after for c in changes if c.before is None and "type" in c.after] == [
        COPIES
    ] * number
    found = [
        part
        for key in ("train_dataloader", "custom_hooks")
        for part in parts(cfg.get(key), key)
    ]
    names = [part.name for part in found if part.name]
    assert names.count("SmallObjectCopyPaste") == number
    for name, following in pairwise(names):
        assert (name == "LoadAnnotations") == (following == "SmallObjectCopyPaste")


def test_with_settings_and_the_penalty(stock):
    cfg = stock(YOLOV8)
    switch_on(cfg, copy_paste=dict(copies=1), bg_penalty=True)
    assert cfg.train_dataloader.dataset.pipeline[2] == dict(COPIES, copies=1)
    assert cfg.custom_hooks[-1].type == "LossParamSchedulerHook"
    assert cfg.custom_hooks[1].switch_pipeline[2] == dict(COPIES, copies=1)


def test_a_stock_head_learns_from_copies(root, digits, demo_options):
    cfg = Config.fromfile(root / "configs/demo/yolov8_n_baseline_1xb4-6e_digits.py")
    cfg.merge_from_dict(demo_options)
    cfg.train_dataloader.dataset.pipeline[1].type = "LoadAnnotations"  # MMYOLO's
    cfg.train_dataloader.collate_fn = dict(type="yolov5_collate")
    cfg.model.data_preprocessor.type = "YOLOv5DetDataPreprocessor"
    cfg.model.bbox_head.type = "YOLOv8Head"
    cfg.model.bbox_head.loss_cls = dict(
        type="mmdet.CrossEntropyLoss", use_sigmoid=True, reduction="none"
    )
    cfg.model.train_cfg.assigner.type = "BatchTaskAlignedAssigner"
    cfg.model.train_cfg.assigner.use_ciou = True

    def boxes(dataset) -> int:
        set_random_seed(0)
        return sum(len(sample["data_samples"].gt_instances) for sample in dataset)

    before = boxes(DATASETS.build(cfg.train_dataloader.dataset))
    switch_on(cfg, copy_paste=True)
    assert boxes(DATASETS.build(cfg.train_dataloader.dataset)) > before
    model = MODELS.build(cfg.model)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0))
    losses = model.train_step(batch, wrapper)
    assert torch.isfinite(losses["loss"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(with_keypoints=True), "pipeline.1 has with_keypoints=True"),
        (dict(box_type="rbox"), "pipeline.1 has box_type='rbox'"),
        (dict(type="LoadPanopticAnnotations"), "has no LoadAnnotations"),
    ],
)
def test_what_cannot_be_copied(change, message, stock):
    cfg = stock(RETINANET)
    cfg.train_dataloader.dataset.pipeline[1].update(change)
    before = cfg.to_dict()
    with pytest.raises(SwitchError, match=message):
        switch_on(cfg, copy_paste=True)
    assert cfg.to_dict() == before


def test_twice(stock):
    cfg = stock(RETINANET)
    switch_on(cfg, copy_paste=True)
    with pytest.raises(SwitchError, match=r"pipeline\.2 is a SmallObjectCopyPaste"):
        switch_on(cfg, copy_paste=True)


def test_hidden_labels_are_not_copied(stock):
    cfg = stock(RETINANET)
    cfg.model = ConfigDict(type="mmdet.SoftTeacher", detector=cfg.model)
    with pytest.raises(SwitchError, match="SoftTeacher' learns from images"):
        switch_on(cfg, copy_paste=True)


def test_wrong_settings(stock):
    with pytest.raises(ValueError, match="prob must be in"):
        switch_on(stock(RETINANET), copy_paste=dict(prob=2))
    with pytest.raises(ValueError, match="must be a SmallObjectCopyPaste"):
        switch_on(stock(RETINANET), copy_paste=dict(type="CopyPaste"))
