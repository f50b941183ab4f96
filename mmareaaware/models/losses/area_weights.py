"""Area weights: how much a positive prior counts, given the area of its box.

Every area weight is a callable ``weight(areas, **geometry) -> Tensor`` of the shape of
``areas``; the areas are in square pixels of the network input. Select one by config,
``area_weight=dict(type='PowerAreaWeight')``, or call it directly.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.registry import TASK_UTILS
from torch import Tensor

# A target below this is none: such a prior is background (design, section 3).
TARGET_EPS = 1e-6
# Areas are clamped to this many square pixels, so that a box without area is finite.
MIN_AREA = 1e-3


class AreaWeight(ABC):
    """Base class of the area weights."""

    @abstractmethod
    def __call__(
        self,
        areas: Tensor,
        *,
        pred_areas: Tensor | None = None,
        image_area: float | None = None,
        strides: Tensor | None = None,
        level_strides: Sequence[int] | None = None,
    ) -> Tensor:
        """Weigh boxes.

        Args:
            areas: Areas of the assigned boxes in px², any shape, here (B, N).
            pred_areas: Areas of the decoded predictions in px², shaped like ``areas``.
            image_area: Area of the network input in px².
            strides: Stride in px of each prior, broadcastable to ``areas``.
            level_strides: The strides of all pyramid levels.

        Returns:
            Weights of the shape of ``areas``, finite and not negative.
        """

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v}" for k, v in vars(self).items())
        return f"{type(self).__name__}({values})"

    def _require(self, **geometry) -> None:
        for name, value in geometry.items():
            if value is None:
                raise ValueError(
                    f"{self!r} needs `{name}` and got None. The dense heads of this "
                    "package pass it, and AreaAwareShared2FCBBoxHead if the RoI head "
                    "is AreaAwareStandardRoIHead or AreaAwareCascadeRoIHead; calling "
                    f"the loss yourself, pass `{name}=...`"
                )


@TASK_UTILS.register_module()
class PowerAreaWeight(AreaWeight):
    r"""Small objects up, by a bounded power of their area.

    .. math:: \varphi(A) = \mathrm{clip}((A_{ref} / A)^\gamma, w_{min}, w_{max})

    Args:
        ref_area: Area in px² that gets weight 1 before clipping.
        gamma: Exponent; 0 gives 1 everywhere, 0.5 weighs by inverse side length.
        min_weight: Lower bound.
        max_weight: Upper bound, so that specks do not dominate.

    Raises:
        ValueError: A value is out of range, or ``min_weight > max_weight``.
    """

    def __init__(
        self,
        ref_area: float = 32**2,
        gamma: float = 0.5,
        min_weight: float = 1.0,
        max_weight: float = 4.0,
    ) -> None:
        _check_positive(ref_area=ref_area)
        _check_non_negative(gamma=gamma)
        _check_bounds(min_weight, max_weight)
        self.ref_area = ref_area
        self.gamma = gamma
        self.min_weight = min_weight
        self.max_weight = max_weight

    def __call__(self, areas: Tensor, **geometry) -> Tensor:
        weights = (self.ref_area / areas.clamp(min=MIN_AREA)) ** self.gamma
        return weights.clamp(self.min_weight, self.max_weight)


@TASK_UTILS.register_module()
class LogAreaWeight(AreaWeight):
    r"""Large objects up, in proportion to the logarithm of their area.

    .. math:: \varphi(A) = \mathrm{clip}(\ln A / \ln A_{ref}, w_{min}, w_{max})

    The opposite claim to :class:`PowerAreaWeight`, to compare with: `On the Importance
    of Large Objects in CNN Based Object Detection Algorithms
    <https://arxiv.org/abs/2311.11714>`_.

    Args:
        ref_area: Area in px² that gets weight 1, above 1.
        min_weight: Lower bound, for boxes of about a pixel.
        max_weight: Upper bound.

    Raises:
        ValueError: A value is out of range, or ``min_weight > max_weight``.
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

    def __call__(self, areas: Tensor, **geometry) -> Tensor:
        weights = areas.clamp(min=MIN_AREA).log() / math.log(self.ref_area)
        return weights.clamp(self.min_weight, self.max_weight)


@TASK_UTILS.register_module()
class StepAreaWeight(AreaWeight):
    """One weight per size class, by default COCO's small, medium and large.

    Args:
        edges: Ascending areas in px² that separate the classes; an area equal to an
            edge belongs to the larger class.
        weights: One weight more than edges, from small to large.

    Raises:
        ValueError: The edges do not ascend, a weight is negative, or the numbers of
            edges and weights do not fit.
    """

    def __init__(
        self,
        edges: Sequence[float] = (32**2, 96**2),
        weights: Sequence[float] = (2.0, 1.5, 1.0),
    ) -> None:
        if len(weights) != len(edges) + 1:
            raise ValueError(
                f"{len(edges)} edges need {len(edges) + 1} weights, got edges={edges} "
                f"and weights={weights}"
            )
        if list(edges) != sorted(set(edges)):
            raise ValueError(f"edges must ascend, got {edges}")
        if min(weights) < 0:
            raise ValueError(f"weights must not be negative, got {weights}")
        self.edges = tuple(edges)
        self.weights = tuple(weights)

    def __call__(self, areas: Tensor, **geometry) -> Tensor:
        result = torch.full_like(areas, self.weights[0])
        for edge, weight in zip(self.edges, self.weights[1:], strict=True):
            result = result.masked_fill(areas >= edge, weight)
        return result


@TASK_UTILS.register_module()
class BoxScaleWeight(AreaWeight):
    r"""YOLOv3's rule, :math:`2 - wh / (WH)`: from 2 for specks to 1 for the image."""

    def __call__(
        self, areas: Tensor, *, image_area: float | None = None, **geometry
    ) -> Tensor:
        self._require(image_area=image_area)
        return 2 - (areas / image_area).clamp(0, 1)


@TASK_UTILS.register_module()
class AreaMismatchWeight(AreaWeight):
    r"""Small objects whose predicted area is off count more ("smoothed BAA").

    .. math:: \varphi = 1 + \beta\tanh|\ln(A_{pred}/A)|
        \text{ if } A < A_{max}, \text{ else } 1

    Both areas are in px² of the network input; a perfect prediction gives exactly 1.

    Args:
        beta: Largest addition to 1.
        max_area: Boxes of at least this area in px² keep weight 1.

    Raises:
        ValueError: ``beta`` is negative or ``max_area`` is not positive.
    """

    def __init__(self, beta: float = 0.75, max_area: float = 96**2) -> None:
        _check_non_negative(beta=beta)
        _check_positive(max_area=max_area)
        self.beta = beta
        self.max_area = max_area

    def __call__(
        self, areas: Tensor, *, pred_areas: Tensor | None = None, **geometry
    ) -> Tensor:
        self._require(pred_areas=pred_areas)
        pred_areas = pred_areas.detach().clamp(min=MIN_AREA)
        mismatch = (pred_areas / areas.clamp(min=MIN_AREA)).log().abs().tanh()
        return torch.where(areas < self.max_area, 1 + self.beta * mismatch, 1.0)


@TASK_UTILS.register_module()
class PyramidMembershipWeight(AreaWeight):
    r"""A box counts most on the pyramid level whose scale fits it (fuzzy membership).

    .. math:: \varphi = L \cdot \mathrm{softmax}_l(-\alpha|\ln(\sqrt A / s_l)| / T)

    taken at the level of the prior. With L levels the mean over the levels is 1. The
    scale of a level is :math:`s_l = 4 \cdot stride_l`, RetinaNet's base anchor.

    Args:
        alpha: Steepness.
        temperature: Softness T of the membership.

    Raises:
        ValueError: ``alpha`` is negative or ``temperature`` is not positive.
    """

    SCALE_PER_STRIDE = 4

    def __init__(self, alpha: float = 5.0, temperature: float = 0.5) -> None:
        _check_non_negative(alpha=alpha)
        _check_positive(temperature=temperature)
        self.alpha = alpha
        self.temperature = temperature

    def __call__(
        self,
        areas: Tensor,
        *,
        strides: Tensor | None = None,
        level_strides: Sequence[int] | None = None,
        **geometry,
    ) -> Tensor:
        self._require(strides=strides, level_strides=level_strides)
        log_side = areas.clamp(min=MIN_AREA).log() / 2
        log_scales = [math.log(self.SCALE_PER_STRIDE * s) for s in level_strides]
        levels = torch.stack([self._score(log_side - scale) for scale in log_scales])
        own = self._score(log_side - (self.SCALE_PER_STRIDE * strides).log())
        return len(level_strides) * (own - levels.logsumexp(0)).exp()

    def _score(self, log_ratio: Tensor) -> Tensor:
        return -self.alpha * log_ratio.abs() / self.temperature


def weigh_priors(
    area_weight: AreaWeight,
    target_sums: Tensor,
    areas: Tensor,
    fg: Tensor | None = None,
    *,
    normalize: str = "mean",
    strength: float = 1.0,
    sync: bool = False,
    **geometry,
) -> tuple[Tensor, Tensor]:
    """Weights of all priors: those of the foreground by area, background exactly 1.

    Args:
        area_weight: Any area weight of this module, or a callable like them.
        target_sums: Soft targets summed over the classes, (B, N).
        areas: Areas of the assigned boxes in px², (B, N); meaningless off ``fg``.
        fg: Foreground mask, (B, N). By default every prior that has a target.
        normalize: ``'mean'`` divides by the target-weighted mean over the foreground,
            which is 1 afterwards; ``'none'`` keeps the weights as they are.
        strength: Fades between no weighting (0) and the full weight (1).
        sync: Take that mean over all ranks instead of this one.
        **geometry: What some area weights need besides, see :class:`AreaWeight`.

    Returns:
        The weights (B, N), without gradient, and the target-weighted foreground mean
        of the raw area weights, a scalar (0 without foreground).
    """
    with torch.no_grad():
        target_sums = target_sums.to(torch.promote_types(areas.dtype, torch.float32))
        bg = target_sums < TARGET_EPS
        if fg is not None:
            bg = bg | ~fg
        weights = area_weight(areas.to(target_sums.dtype), **geometry)  # (B, N)
        # Off the foreground an area means nothing and may be anything: mask, not scale.
        weighted = (weights * target_sums).masked_fill(bg, 0)
        sums = torch.stack([weighted.sum(), target_sums.masked_fill(bg, 0).sum()])
        if sync:
            all_reduce(sums)
        total, targets = sums.unbind()
        mean = total / targets.clamp(min=TARGET_EPS)
        if normalize == "mean":
            weights = weights / mean.clamp(min=torch.finfo(mean.dtype).tiny)
        if strength < 1:
            weights = 1 + strength * (weights - 1)
        return weights.masked_fill(bg, 1), mean


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
