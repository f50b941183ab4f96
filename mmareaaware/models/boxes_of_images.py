"""Boxes of the images of a batch, in a row."""

from collections.abc import Sequence

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor


def flat_ignored(instances: Tensor | Sequence | None) -> tuple[Tensor, Tensor] | None:
    """Image (M,) and box (M, 4) of all ignored boxes of a batch; None without any.

    Args:
        instances: (M, 5): image, x1, y1, x2, y2; or a list of InstanceData or None.
    """
    if instances is None or isinstance(instances, Tensor):
        if instances is None or not len(instances):
            return None
        return instances[:, 0].long(), instances[:, 1:]
    boxes = [None if i is None else i.bboxes for i in instances]
    if not any(map(_number, boxes)):
        return None
    return join_boxes(boxes)


def join_boxes(boxes: Sequence) -> tuple[Tensor, Tensor]:
    """Image (G,) and box (G, 4) of the boxes of each image, None for none."""
    tensors = [get_box_tensor(b) for b in boxes if b is not None]
    numbers = torch.tensor(list(map(_number, boxes)))
    images = torch.arange(len(boxes)).repeat_interleave(numbers)
    joint = torch.cat(tensors)
    return images.to(joint.device), joint


def _number(boxes) -> int:
    return 0 if boxes is None else len(boxes)
