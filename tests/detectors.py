"""Small mmdet detectors, stock or size-aware, and batches for them."""

from copy import deepcopy

import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope

STOCK = dict(
    faster="faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    mask="mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    cascade="cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    retinanet="retinanet/retinanet_r50_fpn_1x_coco.py",
    atss="atss/atss_r50_fpn_1x_coco.py",
)
NUM_CLASSES = 3


def detector_config(kind: str, **area_options) -> ConfigDict:
    """A stock recipe with a narrow network; size-aware with any area option."""
    model = get_config(f"mmdet::{STOCK[kind]}").model
    model.backbone.update(depth=18, base_channels=8, init_cfg=None, norm_eval=False)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    for head in dense_and_roi_heads(model):
        head.update(in_channels=16)
        if head.type == "RPNHead":
            head.feat_channels = 16
        else:
            head.num_classes = NUM_CLASSES
        if "Shared2FC" in head.type:
            head.fc_out_channels = 32
        if area_options:
            head.update(type=f"AreaAware{head.type}", **area_options)
    if area_options and "roi_head" in model:
        model.roi_head.type = f"AreaAware{model.roi_head.type}"
    if "roi_head" in model:
        model.roi_head.bbox_roi_extractor.out_channels = 16
        if "mask_head" in model.roi_head:
            model.roi_head.mask_roi_extractor.out_channels = 16
            model.roi_head.mask_head.update(
                in_channels=16, conv_out_channels=16, num_classes=NUM_CLASSES
            )
    return model


def dense_and_roi_heads(model: ConfigDict) -> list[ConfigDict]:
    """The configs of all heads that classify boxes."""
    heads = [model[key] for key in ("rpn_head", "bbox_head") if key in model]
    if "roi_head" in model:
        of_rois = model.roi_head.bbox_head
        heads += of_rois if isinstance(of_rois, list) else [of_rois]
    return heads


def build_detector(model: ConfigDict):
    """Build it in training mode, always with the same weights."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(deepcopy(model)).train()


def detector_batch(boxes_per_image=(7, 4), with_mask: bool = False, size: int = 128):
    """A batch as the data loader makes it; boxes of 2 to 100 px."""
    batch = demo_mm_inputs(
        batch_size=len(boxes_per_image),
        image_shapes=(3, size, size),
        num_items=list(boxes_per_image),
        num_classes=NUM_CLASSES,
        with_mask=with_mask,
    )
    generator = torch.Generator().manual_seed(0)
    for sample in batch["data_samples"]:
        number = len(sample.gt_instances)
        centre = torch.rand(number, 2, generator=generator) * size
        side = 2 * 50 ** torch.rand(number, 2, generator=generator)
        boxes = torch.cat([centre - side / 2, centre + side / 2], 1).clamp(0, size)
        sample.gt_instances.bboxes = boxes
    return batch


def training_step(detector, batch, seed: int = 0) -> tuple[dict, dict]:
    """Losses and gradients by name; samplers and dropout start from the seed."""
    torch.manual_seed(seed)
    detector.zero_grad()
    data = detector.data_preprocessor(deepcopy(batch), True)
    losses = detector(**data, mode="loss")
    total, _ = detector.parse_losses(losses)
    total.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in detector.named_parameters()
        if parameter.grad is not None
    }
    return losses, gradients
