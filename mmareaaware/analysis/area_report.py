"""How large are the boxes for the network, and what does the loss do with them?

**Sizes** are those of COCO, by the area of the box in px² of the network input: small
below 32², medium, large from 96².

**Priors in a box** are positions of the grid of each pyramid level whose centre lies
strictly inside it: points of a point generator; of an anchor generator the common
centres of the anchors of each place, however many anchors there are.

**The share of the loss** of a box is that of its targets in all targets: how hard its
positives pull at the classifier, background left aside. Before training nobody knows
the targets. A task-aligned assigner is taken to give a box ``min(topk, priors inside)``
of them, all alike. (Measured with trained networks: the targets of a box add up to 0.29
to 0.40 times that number on HIT-UAV, 0.53 to 0.67 on the demo data, whatever its size
from 8 px on, while the sums themselves differ by a factor of 7.) Priors that lie in
several boxes count for each. Any other assigner is taken to give every box the same.
``normalize='mean'`` is taken over all boxes, in a training over each batch.
"""

import math
from typing import NamedTuple

import torch
from mmdet.models import SemiBaseDetector
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor, nn

from ..models import (
    AreaAwareBBoxHeadMixin,
    AreaWeighting,
    Positives,
    PriorGrid,
    SparseTaskAlignedAssigner,
)
from ..models.losses.area_weights import TARGET_EPS
from ..models.losses.weighting import AreaWeightLike, mass_of, mean_of
from .training_set import TrainingBoxes

SIZES = ("small", "medium", "large")
SIZE_EDGES = (32.0**2, 96.0**2)  # px²


class Weighting(NamedTuple):
    """An area weight of the model, at work on G boxes."""

    module: str  # by its path in the model
    area_weight: AreaWeightLike
    normalize: str
    strength: float  # before any hook changes it
    image_area: float  # of the usual network input, in px²
    strides: Tensor  # (L,), of the levels; L is 0 if they are not known
    factors: Tensor | None = None  # (G,), as the loss applies them; None if unknown
    unknown: str = ""  # why

    def curve(self, sides: Tensor) -> Tensor | None:
        """φ of squares, before ``normalize`` and ``strength``.

        Args:
            sides: In px, (S,).

        Returns:
            (1, S), or (L, S) where the level matters, or None if it takes predictions.
        """
        try:
            curve = _by_level(self.area_weight, sides**2, self.image_area, self.strides)
        except ValueError:
            return None
        return curve if _differs(curve) else curve[:1]


class AreaReport(NamedTuple):
    """What ``area_report`` finds out about G boxes and L pyramid levels."""

    data: TrainingBoxes
    size: Tensor  # (G,), index in SIZES
    strides: Tensor  # (L,), in px; L is 0 for a model without priors
    priors: Tensor  # (G, L), inside each box
    candidates: Tensor  # (G,), priors that the assigner chooses from
    targets: Tensor  # (G,), their sum, up to a common factor
    assumption: str  # behind the targets
    weightings: list[Weighting]
    assigner: nn.Module | None

    def shares(self, values: Tensor) -> list[float]:
        """Shares of small, medium and large boxes in a sum over boxes.

        Args:
            values: Of the boxes, (G,).

        Returns:
            Three shares; zeros if the sum is 0.
        """
        sums = values.new_zeros(len(SIZES)).index_add(0, self.size, values)
        return (sums / values.sum().clamp(min=TARGET_EPS)).tolist()

    def loss_shares(self, weighting: Weighting) -> list[float] | None:
        """Shares in the loss of the positives; None if the weights are not known."""
        if weighting.factors is None:
            return None
        return self.shares(self.targets * weighting.factors)

    def loss_factor(self, weighting: Weighting) -> float | None:
        """What the loss of the positives is multiplied with; None if not known."""
        if weighting.factors is None:
            return None
        total = self.targets.sum().clamp(min=TARGET_EPS)
        return ((self.targets * weighting.factors).sum() / total).item()


def area_report(data: TrainingBoxes, model: nn.Module) -> AreaReport:
    """Analyse the boxes of a training for a detector.

    Args:
        data: The boxes.
        model: Any detector of mmdet or mmyolo; of a semi-supervised one the student is
            looked at. Priors are those of its first module that has a
            ``prior_generator`` (of two-stage detectors the RPN).

    Returns:
        The report.
    """
    if isinstance(model, SemiBaseDetector):
        model = model.student
    head = next((m for m in model.modules() if hasattr(m, "prior_generator")), None)
    assigner = getattr(head, "assigner", None)
    if head is None:
        strides, priors = torch.zeros(0), torch.zeros(len(data.boxes), 0).long()
    else:
        generator, sizes = head.prior_generator, data.input_sizes[data.image]
        strides = torch.tensor([float(stride[0]) for stride in generator.strides])
        priors = count_priors(generator, data.boxes, sizes)
    candidates = priors.sum(1)
    if isinstance(assigner, SparseTaskAlignedAssigner):
        boxes = assigner.enlarge(data.boxes)
        candidates = count_priors(generator, boxes, sizes).sum(1)
    if _is_task_aligned(assigner):
        limit = getattr(assigner, "topk2", None) or assigner.topk
        targets = candidates.clamp(max=limit).float()
        assumption = f"a box has min({limit}, priors inside) equal targets"
    else:
        targets = torch.ones(len(data.boxes))
        assumption = "every box has the same targets"
    weighs_priors = getattr(head, "weigh_priors", False)
    weightings = [
        _weighting(name, module, data, targets, strides, weighs_priors)
        for name, module in model.named_modules()
        if isinstance(module, AreaWeighting) and module.area_weight is not None
    ]
    return AreaReport(
        data=data,
        size=torch.bucketize(data.areas, torch.tensor(SIZE_EDGES), right=True),
        strides=strides,
        priors=priors,
        candidates=candidates,
        targets=targets,
        assumption=assumption,
        weightings=weightings,
        assigner=assigner,
    )


def _is_task_aligned(assigner: nn.Module | None) -> bool:
    """Ours, or MMYOLO's, which may not be installed."""
    names = {cls.__name__ for cls in type(assigner).__mro__}
    return bool(names & {"BatchTaskAlignedAssigner", "SparseTaskAlignedAssigner"})


def count_priors(generator, boxes: Tensor, sizes: Tensor) -> Tensor:
    """How many positions of each pyramid level lie strictly inside each box.

    Args:
        generator: A prior generator of mmdet or mmyolo, of points or anchors. Anchors
            of one place count once, by their common centre.
        boxes: xyxy in px of the network input, (G, 4).
        sizes: Height and width of the input that each box is on, (G, 2).

    Returns:
        (G, L), int64.
    """
    counts = torch.zeros(len(boxes), generator.num_levels, dtype=torch.int64)
    for size in sizes.unique(dim=0):
        here = (sizes == size).all(1)
        counts[here] = _position_grid(generator, size.tolist()).count(boxes[here])
    return counts


def _position_grid(generator, size: tuple[int, int]) -> PriorGrid:
    height, width = size
    maps = [(math.ceil(height / y), math.ceil(width / x)) for x, y in generator.strides]
    levels = []
    for priors, number in zip(
        generator.grid_priors(maps, device="cpu"),
        generator.num_base_priors,
        strict=True,
    ):
        priors = get_box_tensor(priors)[::number]
        levels.append(priors if priors.size(1) == 2 else priors.view(-1, 2, 2).mean(1))
    return PriorGrid(levels, maps)


def _weighting(
    name: str,
    module: AreaWeighting,
    data: TrainingBoxes,
    targets: Tensor,
    strides: Tensor,
    weighs_priors: bool,
) -> Weighting:
    if isinstance(module, AreaAwareBBoxHeadMixin):
        strides = strides[:0]  # its levels are those of the RoIs, not of the priors
    image_area = data.input_sizes.prod(1)[data.image].float()
    result = Weighting(
        name,
        module.area_weight,
        module.normalize,
        module.strength,
        image_area.median().item(),
        strides,
    )
    if weighs_priors:
        return result._replace(unknown="it goes by the area that each prior predicts")
    try:
        weights = _by_level(module.area_weight, data.areas, image_area, strides)
    except ValueError as error:
        return result._replace(unknown=str(error).split(". ")[0])
    if _differs(weights):
        return result._replace(
            unknown="it goes by the level of the prior, which the assigner decides"
        )
    mean = mean_of(mass_of(weights[0], targets), targets.sum())
    return result._replace(factors=module.settle(weights[0], mean, targets))


def _by_level(
    area_weight: AreaWeightLike,
    areas: Tensor,
    image_area: Tensor | float,
    strides: Tensor,
) -> Tensor:
    """φ of areas (G,) at each level, (L, G); one row where strides are not known."""
    positives = Positives(
        areas.expand(max(1, len(strides)), -1),
        strides=strides[:, None] if len(strides) else None,
        level_strides=strides.tolist() or None,
        image_area=image_area,
    )
    return area_weight(positives)


def _differs(by_level: Tensor) -> bool:
    return not torch.equal(by_level, by_level[:1].expand_as(by_level))
