"""A penalty on confident background."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..precision import at_least_float32
from .area_weights import TARGET_EPS
from .sparse_logits import SparseLogits

MODES = ("max", "focal")
NORMALIZERS = ("positives", "background")
# About what λ = 1000 is in the form divided by N_bg, where that was chosen, on thermal
# images from a drone; milder where objects are many and large (docs/results.md).
DEFAULT_LAMBDA = 5.0


def bg_penalty(
    logits: Tensor | SparseLogits, mode: str = "max", gamma: float = 2.0
) -> Tensor:
    r"""How confident each prior is, to be penalised where it is background.

    ``'max'`` gives $\max_c \sigma(z_c)$; ``'focal'`` gives
    $\sum_c p_c^\gamma \cdot (-\ln(1 - p_c))$ with $p = \sigma(z)$, so that
    confident mistakes weigh most.

    Args:
        logits: Class logits, (..., C), or condensed, with maxima for ``'max'``.
        mode: ``'max'`` or ``'focal'``.
        gamma: Exponent of the focal form.

    Returns:
        The penalty of each prior, (...), not negative.
    """
    if mode == "max":  # σ is monotonic: the maximum comes first
        # Of equal logits one gets the gradient; with amax they would share it.
        if isinstance(logits, SparseLogits):
            assert logits.maxima is not None, "condensed without maxima"
            return logits.maxima.sigmoid()
        return logits.max(-1).values.sigmoid()
    dense = logits.dense if isinstance(logits, SparseLogits) else logits
    cost = F.softplus(dense)  # -ln(1 - p)
    return ((dense - cost) * gamma).exp().mul(cost).sum(-1)  # p = exp(z - softplus(z))


def outside_background(targets: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Which priors are no background: they have a target, or are ignored.

    Args:
        targets: Soft targets summed over the classes, (B, N).
        ignored: Priors that are left out, (B, N) bool.

    Returns:
        (B, N), bool.
    """
    outside = targets >= TARGET_EPS
    return outside if ignored is None else outside | ignored


def bg_penalty_loss(
    logits: Tensor | SparseLogits,
    targets: Tensor,
    lambda_bg: float = DEFAULT_LAMBDA,
    *,
    mode: str = "max",
    gamma: float = 2.0,
    loss_weight: float = 0.5,
    normalizer: str = "positives",
    ignored: Tensor | None = None,
    avg_factor: Tensor | float | None = None,
    return_stats: bool = False,
    balance: Tensor | None = None,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    r"""Penalty on the background priors, in proportion to the classification loss.

    $$
    L_{bg} = w \cdot \lambda_{bg} / S \cdot \sum_{i \in bg} penalty_i,
    \quad S = \max(\textstyle\sum t, 1)
    $$

    As the classification loss is divided by S too, a $\lambda_{bg}$ means the
    same at any image size, batch and number of boxes. ``normalizer='background'`` is
    the mean over the background, $w \cdot \lambda_{bg} / N_{bg} \cdot \sum$:
    there are tens of thousands of background priors, and it takes a
    $\lambda_{bg}$ that is larger by $N_{bg} / S$ to do the same.

    A prior is background when its targets sum to less than 1e-6. Where small objects
    are unlabelled, this punishes finding them.

    Args:
        logits: Class logits, (B, N, C), or condensed.
        targets: Soft targets (B, N, C), or their sums over the classes (B, N).
        lambda_bg: Strength $\lambda_{bg}$; 0 costs nothing.
        mode: ``'max'`` or ``'focal'``, see ``bg_penalty``.
        gamma: Exponent of the focal form.
        loss_weight: Gain w, by default that of YOLOv8's classification loss.
        normalizer: ``'positives'`` divides by S, ``'background'`` by $N_{bg}$.
        ignored: Priors that are no background even without a target, (B, N) bool.
        avg_factor: Replaces S or $N_{bg}$.
        return_stats: Also return ``bg_penalty_mean``, ``bg_penalty_max`` and
            ``bg_penalty_min`` over the background of the batch, without
            $\lambda_{bg}$ and w. There are none at ``lambda_bg=0``.
        balance: How much each prior counts in the sum, of a shape that broadcasts to
            (B, N); None for 1.

    Returns:
        The loss, a scalar; with ``return_stats`` the loss and a dict of scalars.

    Raises:
        ValueError: The mode or the normaliser is unknown.
    """
    _check_choices(mode, normalizer)
    if lambda_bg == 0:
        zero = torch.zeros((), device=targets.device)
        return (zero, {}) if return_stats else zero
    if isinstance(logits, Tensor):
        logits = at_least_float32(logits)
    if targets.dim() == 3:
        targets = targets.sum(-1)
    outside = outside_background(targets, ignored)  # (B, N)
    penalty = bg_penalty(logits, mode, gamma)  # (B, N)
    on_background = penalty.masked_fill(outside, 0)
    total = on_background.sum()
    balanced = total if balance is None else (on_background * balance).sum()
    if avg_factor is None:
        amount = (
            count_background(outside) if normalizer == "background" else targets.sum()
        )
        avg_factor = amount.clamp(min=1)
    loss = loss_weight * lambda_bg * balanced / avg_factor
    if not return_stats:
        return loss
    with torch.no_grad():
        num_bg = count_background(outside)
        lowest = penalty.masked_fill(outside, float("inf")).min()
        stats = dict(
            bg_penalty_mean=total.detach() / num_bg.clamp(min=1),
            bg_penalty_max=on_background.max(),
            bg_penalty_min=lowest.masked_fill(num_bg == 0, 0),
        )
    return loss, stats


def count_background(outside: Tensor) -> Tensor:
    """The number of background priors, a scalar of floats.

    Args:
        outside: From ``outside_background``, (B, N).
    """
    return outside.numel() - outside.sum(dtype=torch.float32)


@MODELS.register_module()
class BgPenaltyLoss(nn.Module):
    """Module form of ``bg_penalty_loss``.

    ``lambda_bg`` may be set during training; ``LossParamSchedulerHook`` does so.

    Args:
        mode: ``'max'`` or ``'focal'``.
        lambda_bg: Strength of the penalty, 0 for none.
        gamma: Exponent of the focal form.
        loss_weight: Gain; 0.5 is that of YOLOv8's classification loss.
        normalizer: ``'positives'``: divided by the sum of the targets, as the
            classification loss is. ``'background'``: a mean over the background priors,
            which takes a ``lambda_bg`` of some hundreds or thousands to be felt.

    Raises:
        ValueError: The mode or normaliser is unknown or a number is negative.

    Example:
        >>> import torch
        >>> from mmareaaware.models.losses import BgPenaltyLoss
        >>> loss_bg = BgPenaltyLoss(mode='focal')
        >>> logits = torch.zeros(2, 100, 10, requires_grad=True)
        >>> targets = torch.zeros(2, 100, 10)
        >>> loss_bg(logits, targets).backward()
    """

    def __init__(
        self,
        mode: str = "max",
        lambda_bg: float = DEFAULT_LAMBDA,
        gamma: float = 2.0,
        loss_weight: float = 0.5,
        normalizer: str = "positives",
    ) -> None:
        super().__init__()
        _check_choices(mode, normalizer)
        for name, value in dict(gamma=gamma, loss_weight=loss_weight).items():
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        self.mode = mode
        self.lambda_bg = lambda_bg
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.normalizer = normalizer

    @property
    def lambda_bg(self) -> float:
        """Strength of the penalty, 0 for none."""
        return self._lambda_bg

    @lambda_bg.setter
    def lambda_bg(self, value: float) -> None:
        if not isinstance(value, int | float):
            raise TypeError(f"lambda_bg must be a number, got {value!r}")
        if not value >= 0:  # nan is not
            raise ValueError(f"lambda_bg must not be negative, got {value}")
        self._lambda_bg = value

    @property
    def needs_maxima(self) -> bool:
        """Whether it reads the maxima over the classes, of condensed logits."""
        return self.mode == "max" and self.lambda_bg > 0

    @property
    def counts_background(self) -> bool:
        """Whether it is divided by the number of background priors."""
        return self.normalizer == "background" and self.lambda_bg > 0

    def forward(
        self,
        logits: Tensor | SparseLogits,
        targets: Tensor,
        *,
        ignored: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        return_stats: bool = False,
        balance: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """See ``bg_penalty_loss``."""
        return bg_penalty_loss(
            logits,
            targets,
            self.lambda_bg,
            mode=self.mode,
            gamma=self.gamma,
            loss_weight=self.loss_weight,
            normalizer=self.normalizer,
            ignored=ignored,
            avg_factor=avg_factor,
            return_stats=return_stats,
            balance=balance,
        )

    def extra_repr(self) -> str:
        """The settings, as ``print(model)`` shows them."""
        return (
            f"mode={self.mode!r}, lambda_bg={self.lambda_bg}, gamma={self.gamma}, "
            f"loss_weight={self.loss_weight}, normalizer={self.normalizer!r}"
        )


def build_bg_penalty(cfg: dict | None) -> BgPenaltyLoss | None:
    """The penalty of a head from its config, None for none.

    Raises:
        ValueError: It is another loss.
    """
    loss = None if cfg is None else MODELS.build(cfg)
    if not isinstance(loss, BgPenaltyLoss | None):
        raise ValueError(
            f"loss_bg must be None or a dict(type='BgPenaltyLoss', ...), got {cfg}"
        )
    return loss


def _check_choices(mode: str, normalizer: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
    if normalizer not in NORMALIZERS:
        raise ValueError(f"normalizer must be one of {NORMALIZERS}, got {normalizer!r}")
