"""Classification loss in which positives count by the area of their box."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..precision import at_least_float32
from .area_weights import TARGET_EPS, Positives
from .per_class import Counts, PerClass, PerClassSettings
from .soft_bce import soft_bce, sparse_soft_bce
from .sparse_logits import SparseLogits
from .sparse_targets import SparseTargets
from .weighting import AreaWeighting, AreaWeightLike

REDUCTIONS = ("none", "mean", "sum")


def area_aware_bce_loss(
    logits: Tensor,
    targets: Tensor,
    areas: Tensor | Positives | None = None,
    *,
    area_weight: AreaWeightLike | None = None,
    normalize: str = "mean",
    strength: float = 1.0,
    class_weights: Tensor | None = None,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    loss_weight: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Classification loss in which positives count by the area of their box.

    $$
    L = \frac{loss\_weight}{S} \sum_i w_i \sum_c a_c BCE(z_{ic} - m_c t_{ic},
    t_{ic}), \quad S = \max(\textstyle\sum t, 1)
    $$

    $w_i$ is the area weight of a prior that has a target, exactly 1 for
    background.

    Args:
        logits: Class logits, (B, N, C).
        targets: Soft targets, (B, N, C).
        areas: Areas in px² of the network input of the boxes assigned to the priors,
            (B, N), meaningless for background; needed with an area weight. For area
            weights that look at more, ``Positives(areas, image_area=...)``.
        area_weight: For example ``PowerAreaWeight()``; None weighs no prior.
        normalize: ``'mean'`` makes the target-weighted mean of the weights of the
            positives 1; ``'none'`` keeps them as they are.
        strength: Fades between no area weighting (0) and the full weight (1).
        class_weights: $a_c$, (C,).
        margins: $m_c$ in logits, (C,).
        label_smoothing: See ``soft_bce``.
        focal_gamma: See ``soft_bce``.
        loss_weight: Gain.
        reduction: ``'mean'`` divides the sum by S; ``'sum'``; ``'none'``.

    Returns:
        A scalar, or (B, N, C) with ``reduction='none'``.

    Raises:
        ValueError: A setting is unknown or out of range, or there is an area weight and
            there are no areas.

    Example:
        >>> import torch
        >>> from mmareaaware.models.losses import PowerAreaWeight, area_aware_bce_loss
        >>> logits = torch.zeros(2, 100, 10, requires_grad=True)
        >>> targets = torch.zeros(2, 100, 10)
        >>> targets[0, 7, 3] = 0.8
        >>> areas = torch.full((2, 100), 12.0**2)
        >>> loss = area_aware_bce_loss(
        ...     logits, targets, areas, area_weight=PowerAreaWeight())
        >>> loss.backward()
    """
    weighting = AreaWeighting()
    weighting.set_area_weight(area_weight, normalize, strength)
    _check_reduction("reduction", reduction)
    loss = soft_bce(
        logits,
        targets,
        class_weights=class_weights,
        margins=margins,
        label_smoothing=label_smoothing,
        focal_gamma=focal_gamma,
    )
    weight = _weight_of_priors(weighting, targets, areas)
    loss = _scale(loss, weight, loss_weight)
    return _reduce(loss, targets, reduction)


@MODELS.register_module()
class AreaAwareBCELoss(AreaWeighting, PerClassSettings):
    """Module form of ``area_aware_bce_loss``, built from a config.

    ``AreaAwareYOLOv8Head`` asks it for the area weight, weighs the positives and hands
    over the weights; it says so with ``set_num_classes``. In a head that does not
    know it, a stock mm head, a loss with an area weight raises when the runner
    initialises the weights, before the first iteration. Without an area weight it
    serves the stock ``YOLOv8Head`` too: with ``reduction='none'``, which its recipes
    have, it is mmdet's sigmoid ``CrossEntropyLoss``. Other stock heads sum and divide
    in ways of their own, and a training with it in one of them is refused.

    Args:
        area_weight: Config or instance of an area weight; None for none.
        normalize: ``'mean'`` or ``'none'``.
        strength: In [0, 1]; may be set during training by ``LossParamSchedulerHook``.
        class_weight: C numbers, or the config of a class weight that is computed from
            ``class_counts`` (``EffectiveNumberWeight``, ``InverseFrequencyWeight``).
        margin: C numbers, or a config computed from ``class_counts``
            (``LDAMMargin``).
        class_counts: How often each class occurs in the training set, or ``'auto'`` to
            have ``ClassCountsHook`` count before training.
        label_smoothing: In [0, 1).
        focal_gamma: 0 for none, else at least 1 (below, the gradient is unbounded).
        loss_weight: Gain.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        use_sigmoid: Must be True; mm configs carry it.

    Raises:
        ValueError: A value is unknown, out of range or does not fit another.
    """

    def __init__(
        self,
        area_weight: Mapping | AreaWeightLike | None = None,
        normalize: str = "mean",
        strength: float = 1.0,
        class_weight: PerClass = None,
        margin: PerClass = None,
        class_counts: Counts | str | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        use_sigmoid: bool = True,
    ) -> None:
        super().__init__(class_weight, margin, class_counts)
        _check_reduction("reduction", reduction)
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be in [0, 1), got {label_smoothing}"
            )
        if focal_gamma != 0 and focal_gamma < 1:
            raise ValueError(f"focal_gamma must be 0 or at least 1, got {focal_gamma}")
        if not loss_weight >= 0:  # nan is not
            raise ValueError(f"loss_weight must not be negative, got {loss_weight}")
        if not use_sigmoid:
            raise ValueError(
                f"AreaAwareBCELoss is a sigmoid loss: use_sigmoid={use_sigmoid} must "
                "be True"
            )
        self.set_area_weight(area_weight, normalize, strength)
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.use_sigmoid = use_sigmoid

    def init_weights(self) -> None:
        """Called by the runner before training: is there a head that weighs?

        Raises:
            ValueError: There is an area weight, and no head has announced itself.
        """
        if self.area_weight is not None and not self.has_head:
            raise ValueError(_needs_areas(self.area_weight))

    def forward(
        self,
        logits: Tensor | SparseLogits,
        targets: Tensor | SparseTargets,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
        *,
        areas: Tensor | Positives | None = None,
    ) -> Tensor:
        """See ``area_aware_bce_loss``; the first five follow mmdet's convention.

        Args:
            logits: (B, N, C); or condensed, to go with sparse targets.
            targets: (B, N, C); or those of P priors.
            weight: Of the priors, (B, N), or with dense targets (B, N, C). A head that
                has announced itself gives the area weights here.
            avg_factor: Replaces S.
            reduction_override: Replaces ``reduction``.
            areas: With dense targets, see ``area_aware_bce_loss``.

        Raises:
            RuntimeError: ``class_counts='auto'`` and nothing has counted.
            ValueError: There is an area weight, and neither a head that weighs nor
                areas; ``avg_factor`` comes with a reduction other than ``'mean'``;
                sparse targets come with ``reduction='none'`` or ``areas``, or condensed
                logits with other class weights.
        """
        _check_reduction("reduction_override", reduction_override or "none")
        self.check_counted()
        reduction = reduction_override or self.reduction
        if avg_factor is not None and reduction != "mean":
            raise ValueError(
                f"avg_factor goes with reduction='mean' only, got {reduction!r}"
            )
        if isinstance(targets, SparseTargets):
            if reduction == "none" or areas is not None:
                raise ValueError(
                    "sparse targets go with reduction='mean' or 'sum' and a weight of "
                    f"the priors, got reduction={reduction!r} and "
                    f"{'no ' if areas is None else ''}areas"
                )
            total = sparse_soft_bce(
                self._condensed(logits, targets),
                targets,
                weight,
                margins=self.margins,
                label_smoothing=self.label_smoothing,
                focal_gamma=self.focal_gamma,
            )
            total = self.loss_weight * total
            return _reduce(total, targets.score, reduction, avg_factor)
        if isinstance(logits, SparseLogits):
            raise ValueError("condensed logits go with sparse targets, got dense ones")
        loss = soft_bce(
            logits,
            targets,
            class_weights=self.class_weights,
            margins=self.margins,
            label_smoothing=self.label_smoothing,
            focal_gamma=self.focal_gamma,
        )
        if weight is not None:
            loss = loss * (weight.unsqueeze(-1) if weight.dim() == 2 else weight)
        by_area = None
        if areas is not None or not self.has_head:
            by_area = _weight_of_priors(self, targets, areas)
        loss = _scale(loss, by_area, self.loss_weight)
        return _reduce(loss, targets, reduction, avg_factor)

    def _condensed(
        self, logits: Tensor | SparseLogits, targets: SparseTargets
    ) -> SparseLogits:
        if isinstance(logits, Tensor):
            return SparseLogits.read(logits, targets, class_weights=self.class_weights)
        if logits.class_weights is not self.class_weights:
            raise ValueError(
                "the logits were condensed with other class weights than those of this "
                "loss: give SparseLogits.read the same class_weights"
            )
        return logits

    def extra_repr(self) -> str:
        """The settings, as ``print(model)`` shows them."""
        return (
            f"area_weight={self.area_weight!r}, normalize={self.normalize!r}, "
            f"strength={self.strength}, loss_weight={self.loss_weight}, "
            f"reduction={self.reduction!r}"
        )


def _weight_of_priors(
    weighting: AreaWeighting, targets: Tensor, areas: Tensor | Positives | None
) -> Tensor | None:
    """Area weights (B, N), 1 for background; None where nothing is weighed."""
    if weighting.area_weight is None:
        return None
    if areas is None:
        raise ValueError(_needs_areas(weighting.area_weight))
    if isinstance(areas, Tensor):
        areas = Positives(areas)
    mass = at_least_float32(targets.detach().sum(-1))
    is_positive = mass >= TARGET_EPS  # (B, N); off it an area may be anything
    weights, _ = weighting.weigh(areas.where(is_positive), mass[is_positive])
    return torch.ones_like(mass).masked_scatter(is_positive, weights.to(mass.dtype))


def _scale(loss: Tensor, weight: Tensor | None, loss_weight: float) -> Tensor:
    """The loss (B, N, C) times weights (B, N)."""
    if weight is None:
        return loss * loss_weight
    return loss * (loss_weight * weight.unsqueeze(-1))


def _reduce(
    loss: Tensor,
    targets: Tensor,
    reduction: str,
    avg_factor: Tensor | float | None = None,
) -> Tensor:
    if reduction == "none":
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total
    return total / (targets.sum().clamp(min=1) if avg_factor is None else avg_factor)


def _check_reduction(name: str, value: str) -> None:
    if value not in REDUCTIONS:
        raise ValueError(f"{name} must be one of {REDUCTIONS}, got {value!r}")


def _needs_areas(area_weight: AreaWeightLike) -> str:
    return (
        f"area_weight={area_weight!r} needs the areas of the assigned boxes, and the "
        "head passes none. AreaAwareYOLOv8Head, for YOLOv8 and YOLO11, does; the other "
        "heads of this package, AreaAwareRetinaHead and AreaAwareYOLOXHead say, have "
        "an area_weight themselves and keep their loss_cls. (A loop of your own passes "
        "`areas=...`)"
    )
