"""The score that a head ranks by, as one logit, where the head has no such logit."""

import torch
from torch import Tensor

from ..precision import at_least_float32


def joint_logits(logits: Tensor, factor_logits: Tensor) -> Tensor:
    r"""The logits of products of two probabilities, of class and objectness say.

    $$
    \sigma(z) = \sigma(a) \cdot \sigma(b), \quad
    z = -\ln(e^{-a} + e^{-b} + e^{-a-b})
    $$

    Args:
        logits: a, (...).
        factor_logits: b, of a shape that broadcasts to that of a.

    Returns:
        z, of the shape of a, in float32 or wider.
    """
    a, b = torch.broadcast_tensors(
        at_least_float32(logits), at_least_float32(factor_logits)
    )
    # In this form no exponent is above 0, and nothing overflows
    return -torch.logaddexp(torch.logaddexp(-a, -b), -a - b)


def foreground_logits(logits: Tensor) -> Tensor:
    r"""The logits of $1 - p_{bg}$ of a softmax whose last class is background.

    $$
    z = \ln\textstyle\sum_{c < C} e^{z_c} - z_C
    $$

    Args:
        logits: (..., C + 1).

    Returns:
        (..., 1), in float32 or wider.
    """
    logits = at_least_float32(logits)
    foreground, background = logits[..., :-1], logits[..., -1:]
    return foreground.logsumexp(-1, keepdim=True) - background
