"""Area weights: how much a positive prior counts, given the area of its box.

An area weight is a callable, from ``Positives`` to their weights. Select one by
config, ``area_weight=dict(type='PowerAreaWeight')``, or call it directly.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

# A target below this is none: such a prior is background. Task-aligned targets come
# near it only where an overlap to the power of six does.
TARGET_EPS = 1e-6
# Areas are clamped to this many square pixels, so that a box without area is finite.
MIN_AREA = 1e-3


@dataclass(frozen=True)
class Positives:
    """P positives of a batch, and what an area weight may look at.

    Only the areas are always there. All areas are in px² of the network input, and all
    tensors have the shape of ``areas`` or broadcast to it.
    """

    areas: Tensor  # of the assigned boxes, (P,)
    pred_areas: Tensor | None = None  # of the decoded predictions, (P,)
    strides: Tensor | None = None  # in px, of the prior of each, (P,)
    level_strides: Sequence[float] | None = None  # in px, of all pyramid levels
    image_area: float | Tensor | None = None  # of the network input

    def where(self, mask: Tensor) -> "Positives":
        """Those of (B, N) priors where a mask (B, N) is set."""

        def of(values: Tensor) -> Tensor:
            return values.expand(mask.shape)[mask]

        return replace(
            self,
            areas=of(self.areas),
            pred_areas=None if self.pred_areas is None else of(self.pred_areas),
            strides=None if self.strides is None else of(self.strides),
        )


class AreaWeight(ABC):
    """Base class of the area weights."""

    @abstractmethod
    def __call__(self, positives: Positives) -> Tensor:
        """Weigh boxes.

        Args:
            positives: P of them, or of any other shape.

        Returns:
            Weights of the shape of ``positives.areas``, finite and not negative.

        Raises:
            ValueError: It needs something that is None.
        """

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v}" for k, v in vars(self).items())
        return f"{type(self).__name__}({values})"

    def _require(self, name: str, value):
        if value is None:
            raise ValueError(
                f"{self!r} needs `{name}` and got None. The dense heads of this "
                "package pass it, and AreaAwareShared2FCBBoxHead if the RoI head "
                "is AreaAwareStandardRoIHead or AreaAwareCascadeRoIHead; calling "
                f"the loss yourself, pass `areas=Positives(areas, {name}=...)`"
            )
        return value


@TASK_UTILS.register_module()
class PowerAreaWeight(AreaWeight):
    r"""Small objects up, by a bounded power of their area.

    $$
    \varphi(A) = \mathrm{clip}((A_{ref} / A)^\gamma, w_{min}, w_{max})
    $$

    Args:
        ref_area: Area in px² that gets weight 1 before clipping.
        gamma: Exponent; 0 gives 1 everywhere, 0.5 weighs by inverse side length.
        min_weight: Lower bound.
        max_weight: Upper bound, so that specks do not dominate.

    Raises:
        ValueError: A value is out of range, or ``min_weight > max_weight``.

    On HIT-UAV (docs/results.md): AP small ±0.0, false positives +32 %.
    """

    def __init__(
        self,
        ref_area: float = 32**2,
        gamma: float = 0.5,
        min_weight: float = 1.0,
        max_weight: float = 4.0,
    ) -> None:
        _check_positive(ref_area=ref_area)
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma must be finite and not negative, got {gamma}")
        _check_bounds(min_weight, max_weight)
        self.ref_area = ref_area
        self.gamma = gamma
        self.min_weight = min_weight
        self.max_weight = max_weight

    def __call__(self, positives: Positives) -> Tensor:
        """Weigh boxes by a power of their areas; returns (P,)."""
        areas = positives.areas.clamp(min=MIN_AREA)
        weights = (self.ref_area / areas) ** self.gamma
        return weights.clamp(self.min_weight, self.max_weight)


@TASK_UTILS.register_module()
class LogAreaWeight(AreaWeight):
    r"""Large objects up, in proportion to the logarithm of their area.

    $$
    \varphi(A) = \mathrm{clip}(\ln A / \ln A_{ref}, w_{min}, w_{max})
    $$

    The opposite claim to ``PowerAreaWeight``, to compare with: [On the Importance
    of Large Objects in CNN Based Object Detection
    Algorithms](https://arxiv.org/abs/2311.11714).

    Args:
        ref_area: Area in px² that gets weight 1, above 1.
        min_weight: Lower bound, for boxes of about a pixel.
        max_weight: Upper bound.

    Raises:
        ValueError: A value is out of range, or ``min_weight > max_weight``.

    On HIT-UAV (docs/results.md): AP small −0.3, false positives +4 %.
    """

    def __init__(
        self,
        ref_area: float = 32**2,
        min_weight: float = 0.1,
        max_weight: float = 4.0,
    ) -> None:
        if not ref_area > 1:
            raise ValueError(f"ref_area must be above 1 px², got {ref_area}")
        _check_bounds(min_weight, max_weight)
        self.ref_area = ref_area
        self.min_weight = min_weight
        self.max_weight = max_weight

    def __call__(self, positives: Positives) -> Tensor:
        """Weigh boxes by the logarithm of their areas; returns (P,)."""
        areas = positives.areas.clamp(min=MIN_AREA)
        weights = areas.log() / math.log(self.ref_area)
        return weights.clamp(self.min_weight, self.max_weight)


@TASK_UTILS.register_module()
class StepAreaWeight(AreaWeight):
    """One weight per size class, by default COCO's small, medium and large.

    Args:
        sides: Ascending sides in px, as the ``size_bins`` of ``SizeBinnedCocoMetric``,
            of the squares whose areas separate the classes; such an area itself belongs
            to the larger class.
        weights: One weight more than sides, from small to large.

    Raises:
        ValueError: The sides do not ascend from above 0, a weight is negative, or the
            numbers of sides and weights do not fit.

    On HIT-UAV (docs/results.md): AP small −0.3, false positives +22 %.
    """

    def __init__(
        self,
        sides: Sequence[float] = (32, 96),
        weights: Sequence[float] = (2.0, 1.5, 1.0),
    ) -> None:
        if len(weights) != len(sides) + 1:
            raise ValueError(
                f"{len(sides)} sides need {len(sides) + 1} weights, got sides={sides} "
                f"and weights={weights}"
            )
        if not all(low < high for low, high in pairwise((0, *sides))):
            raise ValueError(f"sides must be positive and ascend, got {sides}")
        if not all(weight >= 0 for weight in weights):
            raise ValueError(f"weights must not be negative, got {weights}")
        self.sides = tuple(sides)
        self.weights = tuple(weights)

    def __call__(self, positives: Positives) -> Tensor:
        """Weigh boxes by the size class of their areas; returns (P,)."""
        result = torch.full_like(positives.areas, self.weights[0])
        for side, weight in zip(self.sides, self.weights[1:], strict=True):
            result = result.masked_fill(positives.areas >= side**2, weight)
        return result


@TASK_UTILS.register_module()
class BoxScaleWeight(AreaWeight):
    r"""$2 - wh / (WH)$: from 2 for specks to 1 for a box as large as the image.

    The rule of the published code of [YOLOv3](https://arxiv.org/abs/1804.02767),
    there for the box loss.

    On HIT-UAV (docs/results.md): AP small ±0.0, false positives +6 %.
    """

    def __call__(self, positives: Positives) -> Tensor:
        """Weigh boxes by their share of ``image_area``; returns (P,)."""
        image_area = self._require("image_area", positives.image_area)
        return 2 - (positives.areas / image_area).clamp(0, 1)


@TASK_UTILS.register_module()
class AreaMismatchWeight(AreaWeight):
    r"""Small objects whose predicted area is off count more.

    $$
    \varphi = 1 + \beta\tanh|\ln(A_{pred}/A)|
    \text{ if } A < A_{max}, \text{ else } 1
    $$

    Smooth and bounded, and the same for a box predicted k times too large or too
    small; a perfect prediction gives exactly 1. The scale below which it acts is COCO's
    edge of large objects ([Lin et al. 2014](https://arxiv.org/abs/1405.0312)).

    Args:
        beta: Largest addition to 1.
        max_area: Boxes of at least this area in px² keep weight 1.

    Raises:
        ValueError: ``beta`` is negative or ``max_area`` is not positive.

    On HIT-UAV (docs/results.md): AP small −0.3, false positives +12 %.
    """

    def __init__(self, beta: float = 0.75, max_area: float = 96**2) -> None:
        _check_non_negative(beta=beta)
        _check_positive(max_area=max_area)
        self.beta = beta
        self.max_area = max_area

    def __call__(self, positives: Positives) -> Tensor:
        """Weigh boxes by how far ``pred_areas`` are off; returns (P,)."""
        pred_areas = self._require("pred_areas", positives.pred_areas)
        pred_areas = pred_areas.detach().clamp(min=MIN_AREA)
        areas = positives.areas
        mismatch = (pred_areas / areas.clamp(min=MIN_AREA)).log().abs().tanh()
        return torch.where(areas < self.max_area, 1 + self.beta * mismatch, 1.0)


@TASK_UTILS.register_module()
class PyramidMembershipWeight(AreaWeight):
    r"""A box counts most on the pyramid level whose scale fits it (fuzzy membership).

    $$
    \varphi = L \cdot \mathrm{softmax}_l(-\alpha|\ln(\sqrt A / s_l)| / T)
    $$

    taken at the level of the prior. With L levels the mean over the levels is 1. The
    scale of a level is $s_l = 4 \cdot stride_l$, the base anchor of
    [RetinaNet](https://arxiv.org/abs/1708.02002); the rule softens the one by which
    [feature pyramid networks](https://arxiv.org/abs/1612.03144) (equation 1) give a box
    to one level.

    Args:
        alpha: Steepness.
        temperature: Softness T of the membership.

    Raises:
        ValueError: ``alpha`` is negative or ``temperature`` is not positive.

    On HIT-UAV (docs/results.md): AP small −0.3, false positives +106 %.
    """

    SCALE_PER_STRIDE = 4

    def __init__(self, alpha: float = 5.0, temperature: float = 0.5) -> None:
        _check_non_negative(alpha=alpha)
        _check_positive(temperature=temperature)
        self.alpha = alpha
        self.temperature = temperature

    def __call__(self, positives: Positives) -> Tensor:
        """Weigh boxes by how well the level of their prior fits; returns (P,)."""
        strides = self._require("strides", positives.strides)
        level_strides = self._require("level_strides", positives.level_strides)
        log_side = positives.areas.clamp(min=MIN_AREA).log() / 2
        log_scales = [math.log(self.SCALE_PER_STRIDE * s) for s in level_strides]
        levels = torch.stack([self._score(log_side - scale) for scale in log_scales])
        own = self._score(log_side - (self.SCALE_PER_STRIDE * strides).log())
        return len(level_strides) * (own - levels.logsumexp(0)).exp()

    def _score(self, log_ratio: Tensor) -> Tensor:
        return -self.alpha * log_ratio.abs() / self.temperature


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _check_non_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def _check_bounds(min_weight: float, max_weight: float) -> None:
    if not 0 <= min_weight <= max_weight:
        raise ValueError(
            "0 <= min_weight <= max_weight must hold, got "
            f"min_weight={min_weight} and max_weight={max_weight}"
        )
