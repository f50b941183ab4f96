"""Settings that the boxes of a training speak for, by simple rules.

Boxes that reach the edge of the input are left out, if there are others: crop and
mosaic cut large objects into small boxes. ``low`` is the side that 5 % of the rest are
below.

**Area weight.** (r² / A)^½, from 1 at the side r = 32 px, COCO's edge of small, to
r / low. Where low is below 8 px, r is 4 · low, so that the weight is at most 4. None,
γ = 0, where 95 % of the boxes are above 32 px, or where the weight would shift less
than 5 % of the loss: too few boxes are small, or nearly all are of one size.

**P2**, a level of stride 4, where 20 % of the boxes hold fewer than 4 priors of
stride 8.

**min_side** of the assigner, 16 px, where 1 % of the boxes hold no prior.

**Image scale.** Enlarge, at most to twice the size, until nine in ten boxes are above
16 px, two cells of stride 8. Halve where they are above 64 px.

**Crop.** Larger where 30 % of the boxes reach the edge of the input.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..models import (
    AreaWeighting,
    Positives,
    PowerAreaWeight,
    SparseTaskAlignedAssigner,
)
from .area_report import AreaReport, Weighting

LOW_QUANTILE = 0.05
LIFTED_BELOW = 32.0  # px
LARGEST_WEIGHT = 4.0
LEAST_SHIFT = 0.05
COARSE_STRIDE = 8
FEW_PRIORS = 4
P2_SHARE = 0.2
UNSEEN_SHARE = 0.01
MIN_SIDE = 16
WANTED_SIDE = 16.0  # px
AMPLE_SIDE = 64.0  # px
LARGEST_SCALE = 2.0
CUT_SHARE = 0.3


class Suggestion(NamedTuple):
    """A setting, and the numbers that speak for it."""

    setting: str
    value: float | bool | str
    reason: str


def suggest(report: AreaReport) -> tuple[Weighting | None, list[Suggestion]]:
    """Suggest settings, by the rules of this module.

    Args:
        report: Of the boxes and the model.

    Returns:
        The suggested area weight at work on the boxes, None if none is needed; and all
        suggestions.
    """
    is_cut = report.data.is_cut
    whole = torch.ones_like(is_cut) if is_cut.all() else ~is_cut
    sides = report.data.areas.sqrt()[whole]
    area_weight, suggestions = _area_weight(sides, report.targets[whole])
    suggestions += _levels(report.priors[whole], report.strides)
    if isinstance(report.assigner, SparseTaskAlignedAssigner):
        suggestions += _min_side(report.candidates[whole])
    suggestions.append(_image_scale(sides))
    suggestions += _crop(is_cut)
    if area_weight is None:
        return None, suggestions
    factors = _factors(area_weight, report.targets, report.data.areas)
    image_area = report.data.input_sizes.prod(1).float().median().item()
    weighting = Weighting(
        "suggested", area_weight, "mean", 1.0, image_area, report.strides, factors
    )
    return weighting, suggestions


def _area_weight(
    sides: Tensor, targets: Tensor
) -> tuple[PowerAreaWeight | None, list[Suggestion]]:
    def none_because(reason: str) -> tuple[None, list[Suggestion]]:
        reason += ": you need no area weight"
        return None, [Suggestion("area_weight.gamma", 0.0, reason)]

    low = max(1.0, sides.quantile(LOW_QUANTILE).item())
    if low >= LIFTED_BELOW:
        return none_because(
            f"{1 - LOW_QUANTILE:.0%} of the boxes are above {low:.0f} px"
        )
    side = int(min(LIFTED_BELOW, LARGEST_WEIGHT * low))
    area_weight = PowerAreaWeight(side**2, gamma=0.5, max_weight=round(side / low, 1))
    factors = _factors(area_weight, targets, sides**2)
    shift = (targets * (factors - 1)).clamp(min=0).sum() / targets.sum().clamp(min=1)
    if shift < LEAST_SHIFT:
        return none_because(f"{area_weight} would shift {shift:.1%} of the loss")
    origin = (
        "COCO's edge" if side == LIFTED_BELOW else f"{LARGEST_WEIGHT:g} · {low:.1f}"
    )
    return area_weight, [
        Suggestion(
            "area_weight.gamma",
            area_weight.gamma,
            f"weights by inverse side shift {shift:.0%} of the loss to smaller boxes. "
            "Compare with 0: it may cost false alarms (docs/results.md)",
        ),
        Suggestion(
            "area_weight.ref_area",
            area_weight.ref_area,
            f"{side}² ({origin}): larger boxes need no weight",
        ),
        Suggestion(
            "area_weight.max_weight",
            area_weight.max_weight,
            f"{side} / {low:.1f}: {LOW_QUANTILE:.0%} of the boxes are below {low:.1f}",
        ),
    ]


def _factors(area_weight: PowerAreaWeight, targets: Tensor, areas: Tensor) -> Tensor:
    """What the loss of boxes (G,) is multiplied with by default, (G,)."""
    weighting = AreaWeighting()
    weighting.set_area_weight(area_weight, normalize="mean", strength=1.0)
    return weighting.weigh(Positives(areas), targets)[0]


def _levels(priors: Tensor, strides: Tensor) -> list[Suggestion]:
    if COARSE_STRIDE not in strides:
        return []
    few = (priors[:, strides == COARSE_STRIDE] < FEW_PRIORS).float().mean().item()
    reason = (
        f"{few:.0%} of the boxes hold fewer than {FEW_PRIORS} priors of stride "
        f"{COARSE_STRIDE} (yes from {P2_SHARE:.0%} on)"
    )
    if strides.min() < COARSE_STRIDE:
        reason += "; the model has it"
    return [Suggestion("P2", few >= P2_SHARE, reason)]


def _min_side(candidates: Tensor) -> list[Suggestion]:
    unseen = (candidates == 0).float().mean().item()
    if unseen < UNSEEN_SHARE:
        return []
    reason = f"{unseen:.0%} of the boxes hold no prior: nothing learns to find them"
    return [Suggestion("assigner.min_side", MIN_SIDE, reason)]


def _image_scale(sides: Tensor) -> Suggestion:
    low = max(1.0, sides.quantile(0.1).item())
    reason = f"one in ten boxes is below {low:.1f} px"
    scale = 1.0
    if low < WANTED_SIDE:
        scale = min(LARGEST_SCALE, math.ceil(4 * WANTED_SIDE / low) / 4)
        reason += (
            "; two cells of stride 8 are 16 px. Beyond the resolution of the files "
            "this adds priors, not detail"
        )
    elif low >= AMPLE_SIDE:
        scale = 0.5
        reason = f"nine in ten boxes are above {low:.0f} px: half the size would do"
    return Suggestion("image scale", scale, reason)


def _crop(is_cut: Tensor) -> list[Suggestion]:
    cut = is_cut.float().mean().item()
    if cut < CUT_SHARE:
        return []
    reason = (
        f"{cut:.0%} of the boxes reach the edge of the input, cut off by crop or mosaic"
    )
    return [Suggestion("crop", "larger", reason)]
