"""Binary cross-entropy on soft targets, weighted by object size and class."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

from ..precision import at_least_float32
from .area_weighted import DEFAULT_AREA_WEIGHT, AreaWeighted
from .area_weights import AreaWeight, weigh_priors
from .sparse_logits import SparseLogits
from .sparse_targets import SparseTargets

REDUCTIONS = ("none", "mean", "sum")
AUTO = "auto"


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

    .. math:: a_c \cdot |t - \sigma(z')|^\gamma \cdot BCE(z', t), \quad z' = z - m_c t

    Args:
        logits: z, (..., C); half precision is computed in float32.
        targets: Soft targets t in [0, 1], (..., C).
        class_weights: :math:`a_c`, (C,).
        margins: :math:`m_c` in logits, (C,).
        label_smoothing: The share of each prior's target that is spread evenly over all
            classes. The sum over the classes is kept, so background stays background.
        focal_gamma: Exponent of the modulating factor, which for soft targets is that
            of `quality focal loss <https://arxiv.org/abs/2006.04388>`_.

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
    prior_weights: Tensor | None = None,
    *,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    r"""Sum of :func:`soft_bce` over a batch of which few priors have a target.

    .. math:: \sum_i w_i \sum_c BCE(z_{ic}, 0) + \sum_{i \in P} w_i \sum_c
        (BCE(z_{ic}, t_{ic}) - BCE(z_{ic}, 0))

    The first sum needs no targets, the second only P priors. Class weights are those
    that the logits were condensed with.

    Args:
        logits: z, of B·N priors.
        targets: Of P priors.
        prior_weights: Their weights :math:`w_i`, (P,); None for 1. Other priors have 1.
        margins: See :func:`soft_bce`.
        label_smoothing: See :func:`soft_bce`.
        focal_gamma: See :func:`soft_bce`.

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
    if prior_weights is not None:
        added = added * prior_weights
        weights = torch.ones_like(costs)
        weights[targets.image, targets.prior] = prior_weights.to(costs.dtype)
        costs = costs * weights
    return added.sum() + costs.sum()


def _by_label(
    logits: SparseLogits, targets: SparseTargets, margins: Tensor | None
) -> Tensor:
    """What a target adds to the loss of a prior without one, (P,).

    Only the logit of the label makes a difference.
    """
    label, logit, class_weights = targets.label, logits.labels, logits.class_weights
    score = targets.score.to(logit.dtype)
    shifted = logit if margins is None else logit - margins[label] * score
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


def area_aware_bce_loss(
    logits: Tensor | SparseLogits,
    targets: Tensor | SparseTargets,
    areas: Tensor | None = None,
    *,
    fg: Tensor | None = None,
    area_weight: AreaWeight | None = None,
    normalize: str = "mean",
    strength: float = 1.0,
    class_weights: Tensor | None = None,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    loss_weight: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
    avg_factor: Tensor | float | None = None,
    sync: bool = False,
    return_stats: bool = False,
    **geometry,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    r"""Classification loss in which positives count by the area of their box.

    .. math:: L = \frac{loss\_weight}{S} \sum_i w_i \sum_c a_c BCE(z_{ic} - m_c t_{ic},
        t_{ic}), \quad S = \max(\textstyle\sum t, 1)

    :math:`w_i` is the area weight of a foreground prior, exactly 1 for background.

    Args:
        logits: Class logits, (B, N, C), or condensed, to go with sparse targets.
        targets: Soft targets, (B, N, C); or those of P priors, and then ``areas`` and
            the geometry are (P,) too and ``fg`` is not needed.
        areas: Areas in px² of the network input of the boxes assigned to the priors,
            (B, N); needed with an area weight, meaningless where not ``fg``.
        fg: Foreground mask, (B, N). By default every prior that has a target.
        area_weight: For example ``PowerAreaWeight()``; None weighs no prior.
        normalize: ``'mean'`` makes the target-weighted mean of the foreground weights
            1; ``'none'`` keeps them as they are.
        strength: Fades between no area weighting (0) and the full weight (1).
        class_weights: :math:`a_c`, (C,).
        margins: :math:`m_c` in logits, (C,).
        label_smoothing: See :func:`soft_bce`.
        focal_gamma: See :func:`soft_bce`.
        loss_weight: Gain.
        weight: Further weights, (B, N) or (B, N, C); dense targets only.
        reduction: ``'mean'`` divides the sum by ``avg_factor``; ``'sum'``; ``'none'``,
            with dense targets only.
        avg_factor: Replaces S.
        sync: Normalise the weights by their mean over all ranks.
        return_stats: Also return ``area_weight_mean``, the target-weighted mean of the
            area weights before normalisation. There is none without an area weight.
        **geometry: What some area weights need besides (``pred_areas``,
            ``image_area``, ``strides``, ``level_strides``), see
            :class:`~mmareaaware.models.losses.AreaWeight`.

    Returns:
        A scalar, or (B, N, C) with ``reduction='none'``; with ``return_stats`` that and
        a dict of scalars.

    Raises:
        ValueError: There is an area weight and there are no areas, ``avg_factor``
            comes with a reduction other than ``'mean'``, sparse targets come with
            ``weight`` or ``reduction='none'``, or condensed logits with other class
            weights.

    Example:
        >>> logits = torch.randn(2, 100, 10, requires_grad=True)
        >>> targets = torch.zeros(2, 100, 10)
        >>> targets[0, 7, 3] = 0.8
        >>> areas = torch.full((2, 100), 12.0**2)
        >>> area_aware_bce_loss(
        ...     logits, targets, areas, area_weight=PowerAreaWeight()).backward()
    """
    if avg_factor is not None and reduction != "mean":
        raise ValueError(
            f"avg_factor goes with reduction='mean' only, got reduction={reduction!r}"
        )
    is_sparse = isinstance(targets, SparseTargets)
    if is_sparse and (weight is not None or reduction == "none"):
        raise ValueError(
            "sparse targets go with reduction='mean' or 'sum' and no weight, got "
            f"reduction={reduction!r} and {'no' if weight is None else 'a'} weight"
        )
    target_sums = targets.score if is_sparse else targets.sum(-1)  # (P,) or (B, N)
    prior_weights, stats = None, {}
    if area_weight is not None:
        if areas is None:
            raise ValueError(_needs_areas(area_weight))
        prior_weights, stats["area_weight_mean"] = weigh_priors(
            area_weight,
            target_sums,
            areas,
            fg,
            normalize=normalize,
            strength=strength,
            sync=sync,
            **geometry,
        )
    elements = dict(
        margins=margins, label_smoothing=label_smoothing, focal_gamma=focal_gamma
    )
    if is_sparse:
        if isinstance(logits, Tensor):
            logits = SparseLogits.read(logits, targets, class_weights=class_weights)
        elif logits.class_weights is not class_weights:
            raise ValueError(
                "the logits were condensed with other class weights than those of this "
                "loss: give SparseLogits.read the same class_weights"
            )
        loss = loss_weight * sparse_soft_bce(logits, targets, prior_weights, **elements)
    else:
        # (B, N, C)
        loss = soft_bce(logits, targets, class_weights=class_weights, **elements)
        if weight is not None:
            is_per_prior = weight.dim() < loss.dim()
            loss = loss * (weight.unsqueeze(-1) if is_per_prior else weight)
        scale = loss_weight
        if prior_weights is not None:
            scale = loss_weight * prior_weights.unsqueeze(-1)
        loss = loss * scale
        if reduction != "none":
            loss = loss.sum()
    if reduction == "mean":
        if avg_factor is None:
            avg_factor = target_sums.sum().clamp(min=1)
        loss = loss / avg_factor
    return (loss, stats) if return_stats else loss


@MODELS.register_module()
class AreaAwareBCELoss(AreaWeighted, nn.Module):
    """Module form of :func:`area_aware_bce_loss`, built from a config.

    A head that passes areas says so with :meth:`set_num_classes`. In one that does not,
    a stock mm head, a loss with an area weight raises when the runner initialises the
    weights, before the first iteration. Without an area weight it serves stock heads
    too: with ``reduction='none'``, which the stock YOLOv8 recipes have, it is mmdet's
    sigmoid ``CrossEntropyLoss``. (``'mean'`` divides by S, and so does the stock
    ``YOLOv8Head``.)

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
        area_weight: dict | AreaWeight | None = DEFAULT_AREA_WEIGHT,
        normalize: str = "mean",
        strength: float = 1.0,
        class_weight: Sequence[float] | dict | Callable | None = None,
        margin: Sequence[float] | dict | Callable | None = None,
        class_counts: Sequence[int] | str | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        use_sigmoid: bool = True,
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"reduction must be one of {REDUCTIONS}, got {reduction!r}"
            )
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
                "be True or left out"
            )
        self.set_area_weight(area_weight, normalize, strength)
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.use_sigmoid = use_sigmoid
        self._num_classes = None
        self._class_weight = _build_per_class(class_weight)
        self._margin = _build_per_class(margin)
        self.register_buffer("class_weights", None, persistent=False)
        self.register_buffer("margins", None, persistent=False)
        self._init_class_counts(class_counts)

    def _init_class_counts(self, class_counts: Sequence[int] | str | None) -> None:
        uses_counts = callable(self._class_weight) or callable(self._margin)
        if isinstance(class_counts, str) and class_counts != AUTO:
            raise ValueError(
                f"class_counts must be a list of counts or 'auto', got {class_counts!r}"
            )
        if uses_counts and class_counts is None:
            raise ValueError(
                "a class weight or margin that depends on counts needs class_counts: "
                "give a list, or class_counts='auto' and "
                "custom_hooks=[dict(type='ClassCountsHook')]; got None"
            )
        self.class_counts = None
        self.awaits_class_counts = uses_counts and class_counts == AUTO
        if not self.awaits_class_counts:
            self.set_class_counts(None if class_counts == AUTO else class_counts)

    def set_class_counts(self, class_counts: Sequence[int] | None) -> None:
        """Compute class weights and margins.

        Args:
            class_counts: C counts; None if neither depends on counts.

        Raises:
            ValueError: A count is negative, or their number is not that of the classes.
        """
        if class_counts is not None and min(class_counts) < 0:
            raise ValueError(f"class_counts must not be negative, got {class_counts}")
        self.class_counts = class_counts
        self.class_weights = _per_class(self._class_weight, class_counts)
        self.margins = _per_class(self._margin, class_counts)
        self.awaits_class_counts = False
        self._check_lengths()

    def set_num_classes(self, num_classes: int) -> None:
        """Called by a head that passes areas; per-class settings are checked by it.

        Args:
            num_classes: The number C of classes.

        Raises:
            ValueError: A per-class setting has another length.
        """
        self._num_classes = num_classes
        self._check_lengths()

    def _check_lengths(self) -> None:
        if self._num_classes is None:
            return
        settings = dict(
            class_counts=self.class_counts,
            class_weight=self.class_weights,
            margin=self.margins,
        )
        for name, values in settings.items():
            if values is not None and len(values) != self._num_classes:
                raise ValueError(
                    f"{name} has {len(values)} entries for {self._num_classes} "
                    f"classes: {list(values)}"
                )

    def init_weights(self) -> None:
        """Called by the runner before training: is there a head that passes areas?

        Raises:
            ValueError: There is an area weight, and no head has announced itself.
        """
        if self.area_weight is not None and self._num_classes is None:
            raise ValueError(_needs_areas(self.area_weight))

    def forward(
        self,
        logits: Tensor | SparseLogits,
        targets: Tensor | SparseTargets,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
        *,
        areas: Tensor | None = None,
        fg: Tensor | None = None,
        sync: bool = False,
        return_stats: bool = False,
        **geometry,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """See :func:`area_aware_bce_loss`; the first five follow mmdet's convention.

        Raises:
            RuntimeError: ``class_counts='auto'`` and nothing has counted.
        """
        if reduction_override not in (None, *REDUCTIONS):
            raise ValueError(
                f"reduction_override must be None or one of {REDUCTIONS}, got "
                f"{reduction_override!r}"
            )
        if self.awaits_class_counts:
            raise RuntimeError(
                "class_counts='auto' and nobody has counted: add "
                "custom_hooks=[dict(type='ClassCountsHook')], or call "
                "set_class_counts([...])"
            )
        return area_aware_bce_loss(
            logits,
            targets,
            areas,
            fg=fg,
            area_weight=self.area_weight,
            normalize=self.normalize,
            strength=self.strength,
            class_weights=self.class_weights,
            margins=self.margins,
            label_smoothing=self.label_smoothing,
            focal_gamma=self.focal_gamma,
            loss_weight=self.loss_weight,
            weight=weight,
            reduction=reduction_override or self.reduction,
            avg_factor=avg_factor,
            sync=sync,
            return_stats=return_stats,
            **geometry,
        )

    def extra_repr(self) -> str:
        return (
            f"area_weight={self.area_weight!r}, normalize={self.normalize!r}, "
            f"strength={self.strength}, loss_weight={self.loss_weight}, "
            f"reduction={self.reduction!r}"
        )


def _needs_areas(area_weight: AreaWeight) -> str:
    return (
        f"area_weight={area_weight!r} needs the areas of the assigned boxes, and this "
        "head passes none. Use bbox_head.type='AreaAwareYOLOv8Head' (or pass "
        "`areas=...` yourself); area_weight=None is the plain loss"
    )


def _build_per_class(setting: Sequence[float] | dict | Callable | None):
    """Numbers stay, a config becomes the rule that makes numbers from counts."""
    if isinstance(setting, dict):
        rule = TASK_UTILS.build(setting)
        if isinstance(rule, AreaWeight):
            raise ValueError(
                f"{setting} is an area weight, not a class weight or margin"
            )
        return rule
    if setting is None or callable(setting):
        return setting
    if isinstance(setting, str):
        raise ValueError(
            "class weights and margins are lists of numbers or configs, for example "
            f"dict(type='LDAMMargin'), got {setting!r}"
        )
    if min(setting) < 0:
        raise ValueError(f"class weights and margins must not be negative: {setting}")
    return setting


def _per_class(
    setting: Sequence[float] | Callable | None, class_counts: Sequence[int] | None
) -> Tensor | None:
    if setting is None:
        return None
    if callable(setting):
        return setting(class_counts)
    return torch.tensor(setting, dtype=torch.float32)
