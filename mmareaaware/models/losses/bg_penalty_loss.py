"""A penalty on confident background."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..precision import at_least_float32
from .area_weights import TARGET_EPS
from .avg_factor import share_of_total
from .sparse_logits import SparseLogits

MODES = ("max", "focal")


def bg_penalty(
    logits: Tensor | SparseLogits, mode: str = "max", gamma: float = 2.0
) -> Tensor:
    r"""How confident each prior is, to be penalised where it is background.

    ``'max'`` gives :math:`\max_c \sigma(z_c)`; ``'focal'`` gives
    :math:`\sum_c p_c^\gamma \cdot (-\ln(1 - p_c))` with :math:`p = \sigma(z)`, so that
    confident mistakes weigh most.

    Args:
        logits: Class logits, (..., C), or condensed, with maxima for ``'max'``.
        mode: ``'max'`` or ``'focal'``.
        gamma: Exponent of the focal form.

    Returns:
        The penalty of each prior, (...), not negative.
    """
    is_condensed = isinstance(logits, SparseLogits)
    if mode == "max":  # σ is monotonic: the maximum comes first
        # Of equal logits one gets the gradient; with amax they would share it.
        return (logits.maxima if is_condensed else logits.max(-1).values).sigmoid()
    logits = logits.dense if is_condensed else logits
    cost = F.softplus(logits)  # -ln(1 - p)
    return ((logits - cost) * gamma).exp().mul(cost).sum(-1)  # p = exp(z - softplus(z))


def bg_penalty_loss(
    logits: Tensor | SparseLogits,
    targets: Tensor,
    lambda_bg: float = 1.0,
    *,
    mode: str = "max",
    gamma: float = 2.0,
    loss_weight: float = 0.5,
    sync: bool = False,
    return_stats: bool = False,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    r"""Mean penalty over the background priors.

    .. math:: L_{bg} = w \cdot \lambda_{bg} / N_{bg} \cdot \sum_{i \in bg} penalty_i

    A prior is background when its targets sum to less than 1e-6. Where small objects
    are unlabelled, this punishes finding them. As a mean over tens of thousands of
    priors, beside a classification loss divided by the sum of the targets, it takes a
    :math:`\lambda_{bg}` of the order of 1000 to be felt.

    Args:
        logits: Class logits, (B, N, C), or condensed.
        targets: Soft targets (B, N, C), or their sums over the classes (B, N).
        lambda_bg: Strength :math:`\lambda_{bg}`; 0 costs nothing.
        mode: ``'max'`` or ``'focal'``, see :func:`bg_penalty`.
        gamma: Exponent of the focal form.
        loss_weight: Gain w, by default that of YOLOv8's classification loss.
        sync: Use the mean of :math:`N_{bg}` over all ranks instead of this rank's.
        return_stats: Also return ``bg_penalty_mean``, ``bg_penalty_max`` and
            ``bg_penalty_min`` over the background of the batch, without
            :math:`\lambda_{bg}` and w. There are none at ``lambda_bg=0``.

    Returns:
        The loss, a scalar; with ``return_stats`` the loss and a dict of scalars.
    """
    if lambda_bg == 0:
        zero = torch.zeros((), device=targets.device)
        return (zero, {}) if return_stats else zero
    if isinstance(logits, Tensor):
        logits = at_least_float32(logits)
    if targets.dim() == 3:
        targets = targets.sum(-1)
    fg = targets >= TARGET_EPS  # (B, N)
    penalty = bg_penalty(logits, mode, gamma)  # (B, N)
    background = penalty.masked_fill(fg, 0)
    total = background.sum()
    num_bg = (fg.numel() - fg.count_nonzero()).to(total.dtype)
    loss = loss_weight * lambda_bg * total / share_of_total(num_bg, sync)
    if not return_stats:
        return loss
    with torch.no_grad():
        lowest = penalty.masked_fill(fg, float("inf")).min()
        stats = dict(
            bg_penalty_mean=total.detach() / num_bg.clamp(min=1),
            bg_penalty_max=background.max(),
            bg_penalty_min=lowest.masked_fill(num_bg == 0, 0),
        )
    return loss, stats


@MODELS.register_module()
class BgPenaltyLoss(nn.Module):
    """Module form of :func:`bg_penalty_loss`.

    ``lambda_bg`` may be set during training; ``LossParamSchedulerHook`` does so.

    Args:
        mode: ``'max'`` or ``'focal'``.
        lambda_bg: Strength of the penalty, 0 for none; felt from some hundreds on.
        gamma: Exponent of the focal form.
        loss_weight: Gain; 0.5 is that of YOLOv8's classification loss.

    Raises:
        ValueError: The mode is unknown or a number is negative.

    Example:
        >>> loss_bg = BgPenaltyLoss(mode='focal', lambda_bg=1.0)
        >>> logits = torch.zeros(2, 100, 10, requires_grad=True)
        >>> targets = torch.zeros(2, 100, 10)
        >>> loss_bg(logits, targets).backward()
    """

    def __init__(
        self,
        mode: str = "max",
        lambda_bg: float = 1.0,
        gamma: float = 2.0,
        loss_weight: float = 0.5,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        for name, value in dict(gamma=gamma, loss_weight=loss_weight).items():
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        self.mode = mode
        self.lambda_bg = lambda_bg
        self.gamma = gamma
        self.loss_weight = loss_weight

    @property
    def lambda_bg(self) -> float:
        return self._lambda_bg

    @lambda_bg.setter
    def lambda_bg(self, value: float) -> None:
        if not value >= 0:  # nan is not
            raise ValueError(f"lambda_bg must not be negative, got {value}")
        self._lambda_bg = value

    @property
    def needs_maxima(self) -> bool:
        """Whether the maximum over the classes is all that it reads."""
        return self.mode == "max" and self.lambda_bg > 0

    def forward(
        self,
        logits: Tensor | SparseLogits,
        targets: Tensor,
        *,
        sync: bool = False,
        return_stats: bool = False,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """See :func:`bg_penalty_loss`."""
        return bg_penalty_loss(
            logits,
            targets,
            self.lambda_bg,
            mode=self.mode,
            gamma=self.gamma,
            loss_weight=self.loss_weight,
            sync=sync,
            return_stats=return_stats,
        )

    def extra_repr(self) -> str:
        return (
            f"mode={self.mode!r}, lambda_bg={self.lambda_bg}, gamma={self.gamma}, "
            f"loss_weight={self.loss_weight}"
        )
