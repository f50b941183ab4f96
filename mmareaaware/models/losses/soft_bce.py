"""Binary cross-entropy on soft targets, element by element or of a sparse batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import at_least_float32
from .sparse_logits import SparseLogits
from .sparse_targets import SparseTargets


def soft_bce(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor | None = None,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    r"""Element-wise BCE on soft targets, with class weights and margins.

    $$
    a_c \cdot |t - \sigma(z')|^\gamma \cdot BCE(z', t), \quad z' = z - m_c t
    $$

    Args:
        logits: z, (..., C); half precision is computed in float32.
        targets: Soft targets t in [0, 1], (..., C).
        class_weights: $a_c$, (C,).
        margins: $m_c$ in logits, (C,).
        label_smoothing: The share of each prior's target that is spread evenly over all
            classes. The sum over the classes is kept, so background stays background.
        focal_gamma: Exponent of the modulating factor, which for soft targets is that
            of [quality focal loss](https://arxiv.org/abs/2006.04388).

    Returns:
        The loss of each element, (..., C).
    """
    logits = at_least_float32(logits)
    targets = targets.to(logits.dtype)
    if label_smoothing:
        targets = targets.lerp(targets.mean(-1, keepdim=True), label_smoothing)
    if margins is not None:
        logits = logits - margins * targets
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if focal_gamma:
        loss = loss * (targets - logits.sigmoid()).abs() ** focal_gamma
    if class_weights is not None:
        loss = loss * class_weights
    return loss


def sparse_soft_bce(
    logits: SparseLogits,
    targets: SparseTargets,
    weight: Tensor | None = None,
    *,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    r"""Sum of ``soft_bce`` over a batch of which few priors have a target.

    $$
    \sum_i w_i \sum_c BCE(z_{ic}, 0) + \sum_{i \in P} w_i \sum_c
    (BCE(z_{ic}, t_{ic}) - BCE(z_{ic}, 0))
    $$

    The first sum needs no targets, the second only P priors. Class weights are those
    that the logits were condensed with.

    Args:
        logits: z, of B·N priors.
        targets: Of P priors.
        weight: $w_i$ of the priors, (B, N); None for 1.
        margins: See ``soft_bce``.
        label_smoothing: See ``soft_bce``.
        focal_gamma: See ``soft_bce``.

    Returns:
        A scalar.
    """
    if focal_gamma or label_smoothing:
        added = _by_element(logits, targets, margins, label_smoothing, focal_gamma)
    else:
        added = _by_label(logits, targets, margins)
    if focal_gamma:
        costs = _bce_without_target(logits.dense, logits.class_weights, focal_gamma)
    else:
        costs = logits.costs
    if weight is not None:
        added = added * weight[targets.image, targets.prior]
        costs = costs * weight
    return added.sum() + costs.sum()


def _by_label(
    logits: SparseLogits, targets: SparseTargets, margins: Tensor | None
) -> Tensor:
    """What a target adds to the loss of a prior without one, (P,).

    Only the logit of the label makes a difference.
    """
    label, logit, class_weights = targets.label, logits.labels, logits.class_weights
    score = targets.score.to(logit.dtype)
    if margins is None:
        added = -score * logit
    else:
        shifted = logit - margins[label] * score
        added = F.softplus(shifted) - F.softplus(logit) - score * shifted
    return added if class_weights is None else added * class_weights[label]


def _by_element(
    logits: SparseLogits,
    targets: SparseTargets,
    margins: Tensor | None,
    label_smoothing: float,
    focal_gamma: float,
) -> Tensor:
    """The same where a target reaches all classes, (P,)."""
    rows = logits.dense[targets.image, targets.prior]  # (P, C)
    row_targets = torch.zeros_like(rows).scatter(
        1, targets.label.unsqueeze(1), targets.score.to(rows.dtype).unsqueeze(1)
    )
    with_target = soft_bce(
        rows,
        row_targets,
        class_weights=logits.class_weights,
        margins=margins,
        label_smoothing=label_smoothing,
        focal_gamma=focal_gamma,
    ).sum(-1)
    return with_target - _bce_without_target(rows, logits.class_weights, focal_gamma)


def _bce_without_target(
    logits: Tensor, class_weights: Tensor | None, focal_gamma: float
) -> Tensor:
    """BCE of logits (..., C) whose targets are 0, summed over the classes, (...)."""
    loss = F.softplus(logits)
    if focal_gamma:
        loss = loss * logits.sigmoid() ** focal_gamma
    if class_weights is not None:
        loss = loss * class_weights
    return loss.sum(-1)
