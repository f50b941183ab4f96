"""Sigmoid focal loss (https://arxiv.org/abs/1708.02002), forward and backward.

With p = σ(z), and p and α of the other class where the target is another one, the loss
is −α (1 − p)^γ ln p. The compiled operator runs on GPUs only; this one on any device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the loss of each logit into `output`.

    Args:
        input: (N, C) logits.
        target: (N,) classes; C is background.
        weight: (C,) of the classes, or empty.
        output: (N, C)
        gamma: γ, how little easy examples count.
        alpha: α, of the positive examples; 1 − α for the negative ones.
    """
    sign, alpha_t = _sign_and_alpha(input, target, alpha)
    logits = sign * input.to(sign.dtype)  # of the right answer
    loss = -alpha_t * torch.sigmoid(-logits) ** gamma * F.logsigmoid(logits)
    output.copy_(_weighted(loss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of each loss by its logit into `grad_input`, (N, C)."""
    sign, alpha_t = _sign_and_alpha(input, target, alpha)
    logits = sign * input.to(sign.dtype)
    wrong = torch.sigmoid(-logits)  # 1 − p
    slope = gamma * (1 - wrong) * F.logsigmoid(logits) - wrong
    grad = sign * alpha_t * wrong**gamma * slope
    grad_input.copy_(_weighted(grad, target, weight))


def _sign_and_alpha(
    input: Tensor, target: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """1 and α where the class is the target, else −1 and 1 − α, (N, C)."""
    classes = torch.arange(input.size(1), device=input.device)
    positive = target[:, None] == classes
    wide = torch.promote_types(input.dtype, torch.float)
    sign = positive.to(wide) * 2 - 1
    return sign, torch.where(positive, alpha, 1 - alpha).to(wide)


def _weighted(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Times the weight of the target class, where there are weights.

    Background has none: mmcv reads past the end there. It counts once here.
    """
    if not weight.numel():
        return values
    of_target = F.pad(weight.to(values.dtype), (0, 1), value=1.0)[target]
    return values * of_target[:, None]
