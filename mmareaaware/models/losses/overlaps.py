"""Overlaps of pairs of boxes, in few operations, and what they change with.

A box is written as its *sides*: how far left, top, right and bottom lie from some point
that both boxes of a pair are measured from. From the origin these are
(−x1, −y1, x2, y2); from a prior, the distances that a YOLO predicts.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-7
SHAPE_SCALE = 4 / math.pi**2


class Overlap(NamedTuple):
    """CIoU of Q pairs, and the parts that its gradient needs."""

    ciou: Tensor  # (Q,)
    iou: Tensor  # (Q,)
    union: Tensor  # (Q,)
    shared: Tensor  # width and height of the intersection, negative if none, (Q, 2)
    enclosing: Tensor  # of the smallest box around both, (Q, 2)
    diagonal: Tensor  # of that, squared, (Q,)
    size: Tensor  # of the first box, (Q, 2)
    shift: Tensor  # twice the way from the second centre to the first, (Q, 2)
    distance: Tensor  # its length, squared, (Q,)
    angle: Tensor  # between the diagonals, (Q,)
    alpha: Tensor  # weight of the shape, (Q,)
    is_inside: Tensor  # sides of the first that are further in, (Q, 4)

    def at(self, pairs: Tensor) -> "Overlap":
        """Of some of the pairs."""
        return Overlap(*(part[pairs] for part in self))


def sides_of(boxes: Tensor) -> Tensor:
    """Sides (Q, 4), from the origin, of boxes xyxy (Q, 4)."""
    return torch.cat([-boxes[:, :2], boxes[:, 2:]], 1)


def box_overlaps(sides: Tensor, targets: Tensor, mode: str = "ciou") -> Tensor:
    """Overlaps of pairs of boxes.

    Args:
        sides: Of the first box of each pair, (Q, 4).
        targets: Of the second, (Q, 4).
        mode: ``'ciou'`` or ``'iou'``.

    Returns:
        (Q,), at most 1.
    """
    if mode == "iou":
        shared, size, target_size = _sizes(sides, targets)
        return _iou(shared, size, target_size)[0]
    return complete_overlap(sides, targets).ciou


def complete_overlap(sides: Tensor, targets: Tensor) -> Overlap:
    r"""CIoU, and its parts.

    $$
    IoU - \rho^2 / c^2 - \alpha v, \quad
    v = 4 / \pi^2 (\arctan(w' / h') - \arctan(w / h))^2, \quad
    \alpha = v / (1 - IoU + v)
    $$

    ([Zheng et al. 2020](https://arxiv.org/abs/2005.03572)). Small overlaps are small
    differences, and an assigner takes them to the power of six: every number is rounded
    as MMYOLO and Ultralytics round it.

    Args:
        sides: Of the predicted box of each pair, (Q, 4).
        targets: Of the true box, (Q, 4).
    """
    shared, size, target_size = _sizes(sides, targets)
    iou, union = _iou(shared, size, target_size)
    largest = torch.maximum(sides, targets)
    enclosing = largest[:, :2] + largest[:, 2:]
    diagonal = enclosing.square().sum(1) + EPS
    shift = _double_centre(sides) - _double_centre(targets)
    distance = shift.square().sum(1)
    width, height = torch.stack([target_size, size]).unbind(2)  # (2, Q) each
    angles = (width / (height + EPS)).atan()
    angle = angles[0] - angles[1]
    shape = angle.square() * SHAPE_SCALE
    alpha = shape / (shape - iou + (1 + EPS))
    ciou = iou - (alpha * shape).add(distance / diagonal, alpha=0.25)
    return Overlap(
        ciou,
        iou,
        union,
        shared,
        enclosing,
        diagonal,
        size,
        shift,
        distance,
        angle,
        alpha,
        sides < targets,
    )


def ciou_gradient(overlap: Overlap) -> Tensor:
    r"""What the CIoU changes by with each side of the first box.

    $\alpha$ counts as a constant, as in the paper. Where a side of both boxes is
    at the same place, the derivative is that of the side moving outwards.

    Args:
        overlap: From ``complete_overlap``.

    Returns:
        (Q, 4).
    """
    size = overlap.size
    per_union = overlap.union.reciprocal()
    # IoU: by the intersection, and by the area of the box
    turned = overlap.shared.flip(1)  # (h, w)
    gain = ((1 + overlap.iou) * per_union).unsqueeze(1)
    by_shared = turned.clamp(min=0) * gain * (overlap.shared > 0)  # (Q, 2)
    by_area = overlap.iou * per_union
    # Distance of the centres over the diagonal
    per_diagonal = (overlap.diagonal * 2).reciprocal()
    by_shift = overlap.shift * -per_diagonal.unsqueeze(1)  # (Q, 2)
    by_enclosing = overlap.distance * per_diagonal.square() * 2
    by_enclosing = overlap.enclosing * by_enclosing.unsqueeze(1)  # (Q, 2)
    # Shape: by the angle of the diagonal
    width, height = size.unbind(1)
    by_angle = overlap.alpha * overlap.angle * (2 * SHAPE_SCALE)
    by_angle = by_angle / size.square().sum(1).clamp(min=EPS**2)
    by_size = torch.stack(
        [height * (by_angle - by_area), width * (-by_angle - by_area)], 1
    )
    # A side that is further in than the other's moves the intersection, else the
    # smallest box around both
    is_inside = overlap.is_inside.unflatten(1, (2, 2))  # (Q, 2, 2)
    by_side = by_shared.unsqueeze(1).where(is_inside, by_enclosing.unsqueeze(1))
    by_side = by_side + by_size.unsqueeze(1)
    return by_side.flatten(1) + torch.cat([-by_shift, by_shift], 1)


def _double_centre(sides: Tensor) -> Tensor:
    return sides[:, 2:] - sides[:, :2]


def _sizes(sides: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Width and height (Q, 2) of intersection, first and second box."""
    smallest = torch.minimum(sides, targets)
    return (
        smallest[:, :2] + smallest[:, 2:],
        sides[:, :2] + sides[:, 2:],
        targets[:, :2] + targets[:, 2:],
    )


def _iou(shared: Tensor, size: Tensor, target_size: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and area of the union, (Q,)."""
    intersection = shared.clamp(min=0).prod(1)
    union = size.prod(1) + target_size.prod(1) - intersection + EPS
    return intersection / union, union
