"""What the losses ask of the logits of all priors, in one pass and one gradient."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..precision import at_least_float32


class SparseLogits(NamedTuple):
    """Class logits of a batch, condensed to what a loss with few positives needs.

    The gradients of all fields but ``dense`` meet in a single (B, N, C) tensor; taken
    from ``dense`` one by one, each would make its own.
    """

    dense: Tensor  # z, (B, N, C)
    softplus_sums: Tensor  # Σ softplus(z) over all priors, (C,)
    rows: Tensor  # z of the P positives, (P, C)
    maxima: Tensor | None  # max over the classes, (B, N)

    @classmethod
    def read(
        cls, logits: Tensor, image: Tensor, prior: Tensor, *, maxima: bool
    ) -> "SparseLogits":
        """Condense logits.

        Args:
            logits: (B, N, C); half precision is read in float32. Cheapest as a view of
                memory in which the priors run fastest, as convolutions leave them.
            image: Images of the positives, (P,).
            prior: Their priors, (P,), no pair twice.
            maxima: Whether they are needed.
        """
        logits = at_least_float32(logits)
        return cls(logits, *_Condense.apply(logits, image, prior, maxima))


class _Condense(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, image, prior, with_maxima):
        maxima, where = logits.max(-1) if with_maxima else (None, None)
        ctx.save_for_backward(logits, image, prior, where)
        ctx.set_materialize_grads(False)
        sums = F.softplus(logits).sum((0, 1))
        return sums, logits[image, prior], maxima

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_sums, grad_rows, grad_maxima):
        logits, image, prior, where = ctx.saved_tensors
        if grad_sums is None:
            grad = torch.zeros_like(logits)
        else:
            grad = logits.sigmoid().mul_(grad_sums)
        if grad_rows is not None:
            grad[image, prior] += grad_rows
        if grad_maxima is not None:
            grad.scatter_add_(-1, where.unsqueeze(-1), grad_maxima.unsqueeze(-1))
        return grad, None, None, None
