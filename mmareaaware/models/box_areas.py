"""Areas of boxes, as the area weights get them."""

from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor


def box_areas(boxes: Tensor | BaseBoxes) -> Tensor:
    """Areas (...) in px² of boxes xyxy (..., 4) in px, none below 0."""
    boxes = get_box_tensor(boxes)
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
