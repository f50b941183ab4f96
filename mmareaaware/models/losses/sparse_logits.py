"""What the losses ask of the logits of all priors, in one pass and one gradient."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..precision import at_least_float32, exact_matmul
from .prior_maps import PriorMaps, empty_like
from .sparse_targets import SparseTargets


class SparseLogits(NamedTuple):
    """Class logits of a batch, condensed to what a loss with few positives needs.

    The gradients of ``costs``, ``labels`` and ``maxima`` meet in a single tensor a
    level; taken from ``dense`` one by one, each would make its own.
    """

    maps: PriorMaps  # z, of N priors and C classes
    costs: Tensor  # BCE of each prior without a target, Σ a_c softplus(z_c), (B, N)
    labels: Tensor  # z of the P positives for the class of their target, (P,)
    maxima: Tensor | None  # max over the classes, (B, N)
    class_weights: Tensor | None  # a_c in the costs, (C,)

    @property
    def dense(self) -> Tensor:
        """All logits, (B, N, C)."""
        return self.maps.dense

    @classmethod
    def read(
        cls,
        logits: Tensor | PriorMaps,
        targets: SparseTargets,
        *,
        class_weights: Tensor | None = None,
        maxima: bool = False,
    ) -> "SparseLogits":
        """Condense logits.

        Args:
            logits: (B, N, C), or by level; half precision is read in float32.
            targets: Of P priors.
            class_weights: a_c, (C,); None for 1.
            maxima: Whether they are needed.
        """
        maps = logits if isinstance(logits, PriorMaps) else PriorMaps.of(logits)
        place = maps.places.find(targets.image, targets.prior)
        costs, labels, largest = _Condense.apply(
            class_weights, maxima, place, targets.label, *maps.levels
        )
        return cls(maps, costs, labels, largest, class_weights)


class _Condense(torch.autograd.Function):
    @staticmethod
    def forward(ctx, class_weights, with_maxima, place, label, *levels):
        ctx.place = place
        ctx.set_materialize_grads(False)
        maps = [at_least_float32(m) for m in levels]
        buffer, costs = empty_like(maps)
        costs = [_cost(m, class_weights, c) for m, c in zip(maps, costs, strict=True)]
        ctx.buffer = buffer  # for the gradient: not needed before, as large, and warm
        highest = [_max_over_classes(m) for m in maps] if with_maxima else []
        maxima = torch.cat([m for m, _ in highest], 1) if with_maxima else None
        ctx.save_for_backward(class_weights, label, *levels, *(at for _, at in highest))
        return torch.cat(costs, 1), place.take(maps, label), maxima

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_costs, grad_labels, grad_maxima):
        class_weights, label, *rest = ctx.saved_tensors
        num_levels = len(ctx.place.of_level)
        levels, where = rest[:num_levels], rest[num_levels:]
        maps = [at_least_float32(m) for m in levels]
        counts = [m.size(2) for m in maps]
        buffer, grads = empty_like(maps, ctx.buffer)
        ctx.buffer = None  # who retains the graph gets another one
        if grad_costs is None:
            buffer.zero_()
        else:
            parts = grad_costs.split(counts, 1)
            for grad, logits, part in zip(grads, maps, parts, strict=True):
                torch.sigmoid(logits, out=grad).mul_(part.unsqueeze(1))
                if class_weights is not None:
                    grad.mul_(class_weights.unsqueeze(1))
        if grad_labels is not None:
            at = ctx.place.flat(maps, label.unsqueeze(1)).squeeze(1)
            buffer.index_add_(0, at, grad_labels)
        if grad_maxima is not None:
            parts = grad_maxima.split(counts, 1)
            for grad, at, part in zip(grads, where, parts, strict=True):
                grad.scatter_add_(1, at.unsqueeze(1), part.unsqueeze(1))
        grads = [g.to(m.dtype) for g, m in zip(grads, levels, strict=True)]
        return (*[None] * 4, *grads)


def _cost(logits: Tensor, class_weights: Tensor | None, out: Tensor) -> Tensor:
    """Σ a_c softplus(z_c) of logits (B, C, n), (B, n); its terms in ``out``."""
    costs = F.softplus(logits, out=out)  # type: ignore[call-arg]
    if class_weights is None:
        return costs.sum(1)
    # as a product of matrices the weighted sum reads the costs only once
    return exact_matmul(class_weights.expand(len(costs), 1, -1), costs).squeeze(1)


def _max_over_classes(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima of logits (B, C, n) and their classes, (B, n).

    On a CPU by pooling, whose kernel takes priors that are neighbours in memory as
    vectors; that of ``max`` takes them one by one, many times as long.
    """
    if logits.device.type != "cpu":
        return logits.max(1)
    rows = logits.mT.unsqueeze(2)  # (B, n, 1, C): to a pool, n channels of one row each
    maxima, where = F.max_pool2d(rows, (1, logits.size(1)), return_indices=True)
    return maxima.flatten(1), where.flatten(1)
