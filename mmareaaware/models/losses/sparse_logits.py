"""What the losses ask of the logits of all priors, in one pass and one gradient."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..precision import at_least_float32, exact_matmul
from .sparse_targets import SparseTargets


class SparseLogits(NamedTuple):
    """Class logits of a batch, condensed to what a loss with few positives needs.

    The gradients of ``costs``, ``labels`` and ``maxima`` meet in a single (B, N, C)
    tensor; taken from ``dense`` one by one, each would make its own.
    """

    dense: Tensor  # z, (B, N, C)
    costs: Tensor  # BCE of each prior without a target, Σ a_c softplus(z_c), (B, N)
    labels: Tensor  # z of the P positives for the class of their target, (P,)
    maxima: Tensor | None  # max over the classes, (B, N)
    class_weights: Tensor | None  # a_c in the costs, (C,)

    @classmethod
    def read(
        cls,
        logits: Tensor,
        targets: SparseTargets,
        *,
        class_weights: Tensor | None = None,
        maxima: bool = False,
    ) -> "SparseLogits":
        """Condense logits.

        Args:
            logits: (B, N, C); half precision is read in float32. Cheapest as a view of
                memory in which the priors run fastest, as convolutions leave them.
            targets: Of P priors.
            class_weights: a_c, (C,); None for 1.
            maxima: Whether they are needed.
        """
        logits = at_least_float32(logits)
        where = targets.image, targets.prior, targets.label
        costs, labels, largest = _Condense.apply(logits, class_weights, maxima, *where)
        return cls(logits, costs, labels, largest, class_weights)


class _Condense(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, class_weights, with_maxima, *positives):
        maxima, where = _max_over_classes(logits) if with_maxima else (None, None)
        ctx.save_for_backward(logits, class_weights, where, *positives)
        ctx.set_materialize_grads(False)
        costs = F.softplus(logits)
        if class_weights is None:
            costs = costs.sum(-1)
        else:  # as a product of matrices the weighted sum reads the costs only once
            weights = class_weights.expand(len(costs), 1, -1)  # (B, 1, C)
            costs = exact_matmul(weights, costs.mT).squeeze(1)
        return costs, logits[positives], maxima

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_costs, grad_labels, grad_maxima):
        logits, class_weights, where, *positives = ctx.saved_tensors
        if grad_costs is None:
            grad = torch.zeros_like(logits)
        else:
            grad = logits.sigmoid().mul_(grad_costs.unsqueeze(-1))
            if class_weights is not None:
                grad.mul_(class_weights)
        if grad_labels is not None:
            grad.index_put_(tuple(positives), grad_labels, accumulate=True)
        if grad_maxima is not None:
            grad.scatter_add_(-1, where.unsqueeze(-1), grad_maxima.unsqueeze(-1))
        return (grad, *[None] * 5)


def _max_over_classes(logits: Tensor) -> tuple[Tensor, Tensor]:
    """``logits.max(-1)``: the maxima and their classes, (B, N).

    On a CPU by pooling, whose kernel takes priors that are neighbours in memory as
    vectors; that of ``max`` takes them one by one, many times as long.
    """
    if logits.device.type != "cpu":
        return logits.max(-1)
    rows = logits.unsqueeze(2)  # (B, N, 1, C): to a pool, N channels of one row each
    maxima, where = F.max_pool2d(rows, (1, logits.shape[-1]), return_indices=True)
    return maxima.flatten(1), where.flatten(1)
