"""The box losses of a YOLOv8 on the positives of a batch."""

import torch
from mmdet.models.losses import DistributionFocalLoss
from mmyolo.models.losses import IoULoss
from mmyolo.models.task_modules.coders import DistancePointBBoxCoder
from torch import Tensor, nn

from ..losses import PositiveBoxLosses
from ..losses.overlaps import EPS
from ..losses.positive_box_losses import LAST_BIN_MARGIN
from .yolo_matching import Matched, has_no_hooks


def box_losses(
    matched: Matched,
    pred_boxes: Tensor,
    weight: Tensor,
    avg_factor: Tensor,
    head: nn.Module,
) -> tuple[Tensor, Tensor]:
    """IoU and distribution focal loss by the head's own modules, in strides.

    Args:
        matched: With P positives.
        pred_boxes: Of the positives, with gradient, xyxy in px, (P, 4).
        weight: Of the positives, (P,).
        avg_factor: What the sums are divided by.
        head: Has ``loss_bbox``, ``loss_dfl`` and ``bbox_coder``.
    """
    points, strides = matched.points[:, :2], matched.points[:, 2:3]
    targets = matched.boxes / strides  # (P, 4)
    loss_bbox = head.loss_bbox(pred_boxes / strides, targets, weight=weight)
    dists = matched.dists_of_positives.flatten(0, 1)  # (P·4, reg_max)
    last = dists.size(1) - 1
    distances = head.bbox_coder.encode(
        points / strides, targets, max_dis=last, eps=LAST_BIN_MARGIN
    )
    loss_dfl = head.loss_dfl(
        dists,
        distances.flatten(),
        weight=weight.repeat_interleave(4, output_size=4 * len(weight)),
        avg_factor=avg_factor,
    )
    return loss_bbox / avg_factor, loss_dfl


def fused_box_losses(
    matched: Matched, weight: Tensor, avg_factor: Tensor, head: nn.Module
) -> tuple[Tensor, Tensor]:
    """The same in one pass, where ``are_yolov8s`` and few priors are positive.

    Args:
        matched: With P positives and their overlaps.
        weight: Of the positives, (P,).
        avg_factor: What the sums are divided by.
        head: Has ``loss_bbox``, ``loss_dfl`` and ``head_module``.
    """
    points, boxes = matched.points, matched.boxes
    sides = torch.cat([points[:, :2] - boxes[:, :2], boxes[:, 2:] - points[:, :2]], 1)
    sums = PositiveBoxLosses.read(
        matched.dists_of_positives,
        sides / points[:, 2:3],
        matched.overlap,
        points[:, 2],
        weight,
        head.head_module.proj,
    )
    loss_bbox = sums.ciou * (head.loss_bbox.loss_weight / avg_factor)
    return loss_bbox, sums.dfl * (head.loss_dfl.loss_weight / avg_factor)


def are_yolov8s(head: nn.Module) -> bool:
    """Whether a head's box losses are those that ``PositiveBoxLosses`` computes."""
    loss_bbox, loss_dfl = head.loss_bbox, head.loss_dfl
    return (
        type(loss_bbox) is IoULoss
        and (loss_bbox.iou_mode, loss_bbox.bbox_format) == ("ciou", "xyxy")
        and (loss_bbox.reduction, loss_bbox.return_iou) == ("sum", False)
        and loss_bbox.eps == EPS
        and type(loss_dfl) is DistributionFocalLoss
        and loss_dfl.reduction == "mean"
        and type(head.bbox_coder) is DistancePointBBoxCoder
        and has_no_hooks(loss_bbox)
        and has_no_hooks(loss_dfl)
    )
