"""mmdet's dense heads, stock or size-aware, with outputs as they come in a training."""

from copy import deepcopy
from functools import cache

import torch
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

NUM_CLASSES = 3
SIZE = 128
CHANNELS = 32  # what a GroupNorm takes
RECIPES = dict(
    RetinaHead="retinanet/retinanet_r50_fpn_1x_coco.py",
    SSDHead="ssd/ssd300_coco.py",
    ATSSHead="atss/atss_r50_fpn_1x_coco.py",
    GFLHead="gfl/gfl_r50_fpn_1x_coco.py",
    TOODHead="tood/tood_r50_fpn_1x_coco.py",
    TOODHead_later="tood/tood_r50_fpn_1x_coco.py",  # after its first four epochs
    RTMDetHead="rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    RTMDetSepBNHead="rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    FCOSHead="fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    YOLOXHead="yolox/yolox_tiny_8xb8-300e_coco.py",
    DeformableDETRHead="deformable_detr/deformable-detr_r50_16xb2-50e_coco.py",
    DINOHead="dino/dino-4scale_r50_8xb2-12e_coco.py",
)
KINDS = tuple(RECIPES)
QUERY_KINDS = ("DeformableDETRHead", "DINOHead")
NUM_NOISED = 16  # as many copies as an image has boxes, and as many negatives


@cache
def _recipe(kind: str) -> ConfigDict:
    return get_config(f"mmdet::{RECIPES[kind]}").model


def ours(kind: str) -> str:
    """The name of our head; two are called as heads of mmyolo are."""
    kind = kind.removesuffix("_later")
    clashes = kind in ("RTMDetHead", "YOLOXHead")
    return f"AreaAware{'MMDet' * clashes}{kind}"


def build_head(kind: str, is_stock: bool = False, **options):
    """In training mode, with the losses and the assigner of its recipe."""
    recipe = deepcopy(_recipe(kind))
    cfg = recipe.bbox_head
    cfg.type = kind.removesuffix("_later") if is_stock else ours(kind)
    cfg.num_classes = NUM_CLASSES
    cfg.update(train_cfg=recipe.get("train_cfg"), test_cfg=recipe.test_cfg)
    if kind == "SSDHead":
        cfg.in_channels = (CHANNELS,) * 6
        sides = dict(min_sizes=[12, 24, 40, 60, 80, 100])
        sides["max_sizes"] = [*sides["min_sizes"][1:], 120]
        cfg.anchor_generator.update(strides=[8, 16, 32, 43, 64, 128], **sides)
        cfg.anchor_generator.pop("basesize_ratio_range")
    elif kind in QUERY_KINDS:
        cfg.update(embed_dims=8, num_pred_layer=3, as_two_stage=True)
    else:
        cfg.update(in_channels=CHANNELS, feat_channels=CHANNELS)
    if kind == "FCOSHead":
        cfg.update(norm_on_bbox=True, center_sampling=True)
    if "RTMDet" in kind:
        cfg.norm_cfg = dict(type="BN")
    if kind == "RTMDetHead":
        for key in ("exp_on_reg", "share_conv", "pred_kernel_size"):
            cfg.pop(key, None)
    for key in options:
        cfg.pop(key, None)  # instead of a part of it
    cfg.update(options)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(cfg).train()
    MessageHub.get_current_instance().update_info("epoch", 5 * ("later" in kind))
    return head


def outputs_of(kind: str, num_imgs: int = 2) -> list:
    """What the network says, leaves without a history: maps, or (L, B, Q, .)."""
    generator = torch.Generator().manual_seed(1)
    if kind in QUERY_KINDS:
        number = 30 + NUM_NOISED * (kind == "DINOHead")
        scores = torch.randn(3, num_imgs, number, NUM_CLASSES, generator=generator)
        boxes = torch.rand(3, num_imgs, number, 4, generator=generator) * 0.5 + 0.2
        return [scores - 2, boxes, scores[0, :, -30:] - 1, boxes[0, :, -30:]]
    head = build_head(kind, is_stock=True)
    maps = []
    for stride in head.prior_generator.strides:
        side = -(-SIZE // stride[0])
        shape = num_imgs, CHANNELS, side, side
        maps.append(torch.randn(shape, generator=generator))
    with torch.no_grad():
        scores, *others = head(tuple(maps))
    noise = [torch.randn(s.shape, generator=generator) * 2 for s in scores]
    if "TOOD" in kind:  # which gives probabilities
        scores = [(s.logit() + n).sigmoid() for s, n in zip(scores, noise, strict=True)]
    else:
        scores = [s + n for s, n in zip(scores, noise, strict=True)]
    if "RTMDet" in kind:  # as if it had learned a bit: distances of some px
        noise = [torch.randn(b.shape, generator=generator) * 0.3 for b in others[0]]
        others = [[8 * n.exp() for n in noise]]
    return [list(level) for level in (scores, *others)]


def ground_truth(boxes_per_image=(7, 4), ignored=None) -> tuple:
    """Boxes of 3 to 100 px, what there is to know of the images, and ignored boxes.

    Images after the first are smaller than the input, and not square.
    """
    generator = torch.Generator().manual_seed(2)
    instances, metas = [], []
    for image, number in enumerate(boxes_per_image):
        size = torch.tensor([SIZE - 24 * image, SIZE - 8 * image])  # width, height
        centre = torch.rand(number, 2, generator=generator) * size
        side = 3 * 30 ** torch.rand(number, 2, generator=generator)
        low, high = (centre - side / 2).clamp(min=0), (centre + side / 2).minimum(size)
        boxes = torch.cat([low, high], 1)
        labels = torch.randint(NUM_CLASSES, (number,), generator=generator)
        instances.append(InstanceData(bboxes=boxes, labels=labels))
        shapes = dict.fromkeys(("pad_shape", "batch_input_shape"), (SIZE, SIZE))
        metas.append(dict(shapes, img_shape=tuple(size.flip(0).tolist())))
    if ignored is not None:
        ignored = [InstanceData(bboxes=boxes) for boxes in ignored]
    return instances, metas, ignored


def losses_of(head, outputs, truth) -> dict:
    """What the head makes of them."""
    instances, metas, ignored = truth
    if "DINO" in type(head).__name__:
        noised = dict(num_denoising_queries=NUM_NOISED, num_denoising_groups=1)
        return head.loss_by_feat(*outputs, instances, metas, noised)
    if "DETR" in type(head).__name__:
        return head.loss_by_feat(*outputs, instances, metas)
    return head.loss_by_feat(*outputs, instances, metas, ignored)


def leaves_of(outputs) -> list:
    """The tensors of the outputs."""
    return [x for o in outputs for x in ([o] if isinstance(o, torch.Tensor) else o)]


def step(head, outputs, truth) -> tuple[dict, list]:
    """The losses, and their gradients of the outputs."""
    copies = [
        o.clone().requires_grad_()
        if isinstance(o, torch.Tensor)
        else [x.clone().requires_grad_() for x in o]
        for o in outputs
    ]
    losses = losses_of(head, copies, truth)
    total(losses).backward()
    return losses, [x.grad for x in leaves_of(copies)]


def total(losses: dict):
    """What the detector would minimise."""
    return sum(flat(v).sum() for k, v in losses.items() if "loss" in k)


def flat(loss) -> torch.Tensor:
    """A loss, of all levels where it has levels."""
    return torch.stack([x.sum() for x in loss]) if isinstance(loss, list) else loss


def flatten(maps, size: int) -> torch.Tensor:
    """(B, N, size) of maps of levels."""
    levels = [m.permute(0, 2, 3, 1).reshape(len(m), -1, size) for m in maps]
    return torch.cat(levels, 1)
