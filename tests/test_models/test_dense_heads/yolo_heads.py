"""Narrow heads of mmyolo, stock or size-aware, and one training step of them."""

from copy import deepcopy

import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from tests.conftest import NUM_CLASSES, SIZE, STRIDES, features, ground_truth

CHANNELS = [16, 32, 64]
ANCHORS = [
    [(10, 13), (16, 30), (33, 23)],
    [(30, 61), (62, 45), (59, 119)],
    [(116, 90), (156, 198), (373, 326)],
]
_ON_ANCHORS = dict(
    prior_generator=dict(
        type="mmdet.YOLOAnchorGenerator", base_sizes=ANCHORS, strides=list(STRIDES)
    )
)
_TASK_ALIGNED = dict(
    initial_epoch=1,
    initial_assigner=dict(type="BatchATSSAssigner", num_classes=NUM_CLASSES, topk=4),
    assigner=dict(
        type="BatchTaskAlignedAssigner",
        num_classes=NUM_CLASSES,
        topk=5,
        alpha=1,
        beta=6,
    ),
)
# By name: the stock head, its module, and more options
HEADS = {
    "YOLOv5": ("YOLOv5Head", dict(type="YOLOv5HeadModule"), _ON_ANCHORS),
    "YOLOv7": ("YOLOv7Head", dict(type="YOLOv7HeadModule"), _ON_ANCHORS),
    "YOLOv7 with auxiliary branch": (
        "YOLOv7Head",
        dict(
            type="YOLOv7p6HeadModule",
            main_out_channels=CHANNELS,
            aux_out_channels=CHANNELS,
        ),
        _ON_ANCHORS,
    ),
    "YOLOX": (
        "YOLOXHead",
        dict(type="YOLOXHeadModule", in_channels=CHANNELS[0], feat_channels=16),
        dict(
            train_cfg=dict(
                assigner=dict(
                    type="mmdet.SimOTAAssigner",
                    iou_calculator=dict(type="mmdet.BboxOverlaps2D"),
                )
            )
        ),
    ),
    "YOLOv6": (
        "YOLOv6Head",
        dict(type="YOLOv6HeadModule"),
        dict(train_cfg=_TASK_ALIGNED),
    ),
    "PP-YOLOE": (
        "PPYOLOEHead",
        dict(type="PPYOLOEHeadModule"),
        dict(train_cfg=_TASK_ALIGNED),
    ),
    "RTMDet": (
        "RTMDetHead",
        dict(type="RTMDetSepBNHeadModule", in_channels=CHANNELS[0], feat_channels=16),
        dict(
            train_cfg=dict(
                assigner=dict(
                    type="BatchDynamicSoftLabelAssigner", num_classes=NUM_CLASSES
                )
            )
        ),
    ),
}
OF_ANCHORS = [name for name in HEADS if name.startswith(("YOLOv5", "YOLOv7"))]
WITH_OBJECTNESS = [*OF_ANCHORS, "YOLOX"]


def head_config(name: str, is_ours: bool = True, **options) -> ConfigDict:
    """A narrow head; ours with the options."""
    stock, module, rest = deepcopy(HEADS[name])
    num_classes = options.pop("num_classes", NUM_CLASSES)
    module.update(num_classes=num_classes, featmap_strides=list(STRIDES))
    module.setdefault("in_channels", CHANNELS)
    rest.update(options)
    return ConfigDict(
        type=f"AreaAware{stock}" if is_ours else stock, head_module=module, **rest
    )


def build(name: str, is_ours: bool = True, seed: int = 0, **options) -> nn.Module:
    """The head in training mode, with weights that depend on the seed only."""
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(head_config(name, is_ours, **options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        # Boxes that reach out two strides, where they are predicted as distances
        for kind in ("reg_preds", "rtm_reg"):
            for conv in getattr(head.head_module, kind, []):
                conv.bias += 2
        for conv in getattr(head.head_module, "multi_level_conv_reg", []):
            conv.bias[2:] += 1  # e strides wide and high
    return head.train()


def maps_of(head: nn.Module, num_imgs: int = 2) -> list[Tensor]:
    """Feature maps as the head takes them."""
    x = features(num_imgs)
    if isinstance(head.head_module.in_channels, int):  # the same for all levels
        return [level[:, : CHANNELS[0]] for level in x]
    return x


def samples(boxes_per_image, ignored: Tensor | None = None, seed: int = 0) -> dict:
    """What mmyolo's fast collate function makes; ours with ignored boxes."""
    batch = dict(
        bboxes_labels=ground_truth(boxes_per_image, seed),
        img_metas=[dict(batch_input_shape=(SIZE, SIZE))] * len(boxes_per_image),
    )
    return batch if ignored is None else dict(batch, bboxes_ignored=ignored)


def set_epoch(epoch: int) -> None:
    """Where YOLOv6 and PP-YOLOE look which assigner is due."""
    MessageHub.get_current_instance().update_info("epoch", epoch)


def training_step(head: nn.Module, batch: dict) -> tuple[dict, list[Tensor]]:
    """Losses, and the gradients of parameters and feature maps."""
    x = [level.requires_grad_() for level in maps_of(head, len(batch["img_metas"]))]
    losses = head.loss(x, deepcopy(batch))
    sum(value.sum() for key, value in losses.items() if "loss" in key).backward()
    grads = [p.grad for p in head.parameters()] + [level.grad for level in x]
    return losses, [grad for grad in grads if grad is not None]
