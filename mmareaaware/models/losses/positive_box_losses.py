"""The box losses of a YOLOv8, CIoU and distribution focal loss, in one pass."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..precision import exact_matmul
from .overlaps import Overlap, ciou_gradient

# A target distance stays this much below the last bin.
LAST_BIN_MARGIN = 0.01


class PositiveBoxLosses(NamedTuple):
    """Sums of the two box losses over P positives.

    What autograd would do in some two hundred operations on P rows, here takes some
    eighty: the gradients are known in closed form, and the assigner has the overlaps.
    """

    ciou: Tensor  # Σ w (1 − CIoU)
    dfl: Tensor  # Σ w Σ_sides DFL

    @classmethod
    def read(
        cls,
        dists: Tensor,
        targets: Tensor,
        overlap: Overlap,
        unit: Tensor | float,
        weight: Tensor,
        bins: Tensor,
    ) -> "PositiveBoxLosses":
        """Compute them.

        Args:
            dists: Logits of the distances to the four sides, (P, 4, reg_max).
            targets: Distances from the prior to the sides of the true box, in strides,
                negative where the prior is outside, (P, 4).
            overlap: Of the boxes at the mean distances with the true ones.
            unit: One stride in the unit of the overlap, (P,) or the same for all.
            weight: w, (P,).
            bins: 0, 1, …, reg_max − 1, (reg_max,).
        """
        return cls(*_Read.apply(dists, targets, overlap, unit, weight, bins))


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dists, targets, overlap, unit, weight, bins):
        log_p = dists.log_softmax(-1)
        p = log_p.exp()
        # MMYOLO's loss is bounded, and has no gradient beyond
        ciou = overlap.ciou.clamp(min=-1)
        by_ciou = -weight * (overlap.ciou >= -1) * unit
        by_side = ciou_gradient(overlap) * by_ciou.unsqueeze(1)
        from_mean = bins - exact_matmul(p, bins).unsqueeze(-1)  # (P, 4, reg_max)
        ciou_grad = p * from_mean * by_side.unsqueeze(-1)

        # The target: one, shared by the two bins next to the distance
        last = len(bins) - 1 - LAST_BIN_MARGIN
        place = targets.clamp(0, last).unsqueeze(-1)
        target = (1 - (bins - place).abs()).clamp(min=0)  # (P, 4, reg_max)
        rows = weight[:, None, None]
        dfl_grad = (p - target) * rows
        ctx.save_for_backward(ciou_grad, dfl_grad)
        ciou_sum = (weight * (1 - ciou)).sum()
        return ciou_sum, -(target * log_p * rows).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_ciou, grad_dfl):
        ciou_grad, dfl_grad = ctx.saved_tensors
        grad = ciou_grad * grad_ciou + dfl_grad * grad_dfl
        return grad, *[None] * 5
