"""What each prior of a batch counts in the losses of a YOLOv8."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..losses import add_ranks, share
from ..losses.bg_penalty_loss import count_background, outside_background
from ..losses.weighting import mass_of, mean_of
from .as_predicted import as_predicted
from .box_trust import times
from .object_balance import even, object_weights
from .yolo_matching import Matched


class Weights(NamedTuple):
    """What the priors of a batch count; None for 1."""

    positives: Tensor | None = None  # in the classification loss, (P,)
    background: Tensor | None = None  # there too, (B, N); at the positives not used
    boxes: Tensor | None = None  # of the positives, in the box losses, (P,)


def weigh(
    head: nn.Module, matched: Matched, ignored: Tensor | None
) -> tuple[Weights, dict[str, Tensor], dict[str, Tensor]]:
    """The weights, and all that is summed over the ranks, at once.

    Args:
        head: An ``AreaAwareYOLOv8Head``.
        matched: With P positives.
        ignored: Priors that are left out, (B, N) bool; None for none.

    Returns:
        The weights. This rank's shares of the sum of the ``targets`` and of the number
        of priors in the ``background``, if the penalty is divided by it. What there is
        to log.
    """
    mass = matched.targets.score
    sums, divisors = dict(targets=matched.target_sum), ["targets"]
    if head.weighting is not None:
        positives = head.positives(matched)
        if head.weigh_priors:
            of_all = head.weighting.phi(as_predicted(positives, matched))
            phi = of_all[matched.positives]
        else:
            phi = head.weighting.phi(positives)
        sums["phi"] = mass_of(phi, mass)
    if head.balance_objects:
        by_object = object_weights(matched, head.balance_objects)
        sums["by_object"] = mass_of(by_object, mass)
    if head.loss_bg is not None and head.loss_bg.counts_background:
        outside = outside_background(matched.score_sums, ignored)
        sums["background"] = count_background(outside)
        divisors.append("background")
    sums = add_ranks(sums, head.sync_avg_factor)
    shares = {k: share(sums[k], head.sync_avg_factor) for k in divisors}

    weights, stats = Weights(), {}
    if head.weighting is not None:
        mean = stats["area_weight_mean"] = mean_of(sums["phi"], sums["targets"])
        if head.weigh_priors:  # positives and background alike
            is_mean = head.weighting.normalize == "mean"  # which needs a positive
            known = sums["phi"] if is_mean else torch.ones_like(mean)
            of_all = head.weighting.settle(of_all, mean, known)
            weights = Weights(of_all[matched.positives], of_all)
        else:
            weights = Weights(head.weighting.settle(phi, mean, mass))
    if head.weigh_boxes:
        weights = weights._replace(boxes=weights.positives)
    if head.balance_objects:
        by_object = even(by_object, sums["by_object"], sums["targets"])
        weights = weights._replace(boxes=times(weights.boxes, by_object))
    return weights, shares, stats
