"""What the size-aware heads on mmyolo's share, whatever their losses."""

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from torch import Tensor

from ..boxes_of_images import flat_ignored
from ..losses import Positives, joint_logits
from ..task_modules import PriorGrid
from .box_voting import BoxVotingMixin
from .fast_samples import FastSamplesMixin
from .penalized_head import PenalizedHeadMixin

Sizes = Sequence[tuple[int, int]]  # height and width of each level


class AreaAwareYOLOMixin(FastSamplesMixin, BoxVotingMixin, PenalizedHeadMixin):
    """Put a mixin of this kind before a head of mmyolo.

    Priors without a target that lie inside ignored boxes take part in no loss. What the
    losses are divided by stays as it is, so that ignoring changes nothing elsewhere.

    In half precision losses are computed in float32, which stock does not.
    """

    _grid_key: tuple | None = None

    @property
    def point_generator(self) -> MlvlPointGenerator:
        """Makes the points by which the assigner knows what is inside a box."""
        return self.prior_generator

    def covered(
        self,
        instances: Tensor | Sequence | None,
        sizes: Sizes,
        num_imgs: int,
        device: torch.device,
    ) -> Tensor | None:
        """Which points (B, N) lie in ignored boxes; None where there are no such boxes.

        Args:
            instances: Ignored boxes as (M, 5) [image, x1, y1, x2, y2] in px of the
                network input, or a list of InstanceData or None.
            sizes: Of the levels.
            num_imgs: Number B of images.
            device: Of the result.
        """
        flat = flat_ignored(instances)
        if flat is None:
            return None
        images, boxes = flat
        return self._grid_of(sizes, device).covered(boxes, images, num_imgs)

    def _grid_of(self, sizes: Sizes, device: torch.device) -> PriorGrid:
        """Of all levels, made anew when their sizes or the device change."""
        key = (tuple(sizes), device)
        if key != self._grid_key:
            points = self.point_generator.grid_priors(
                sizes, dtype=torch.float32, device=device
            )
            self._grid, self._grid_key = PriorGrid(points, sizes), key
        return self._grid

    def positives(
        self, areas: Tensor, pred_areas: Tensor, strides: Tensor, size: Sequence[int]
    ) -> Positives:
        """What area weights may look at, of P positives.

        Args:
            areas: Of the true boxes in px² of the network input, (P,).
            pred_areas: Of the predicted ones, (P,).
            strides: Of their levels in px, (P,).
            size: Height and width of the finest level.
        """
        height, width = size
        return Positives(
            areas=areas,
            pred_areas=pred_areas.detach(),
            strides=strides,
            level_strides=self.featmap_strides,
            image_area=height * width * self.featmap_strides[0] ** 2,
        )

    def weights_of(self, positives: Positives, mass: Tensor) -> Tensor | None:
        """The weights (P,) of the positives; None without an area weight.

        Args:
            positives: What the area weight may look at.
            mass: How much each counts in the mean, (P,).
        """
        if self.area_weight is None:
            return None
        weights, self._area_weight_mean = self.weigh(positives, mass, sync=True)
        return weights

    def ranking_logits(self, logits: Tensor, objectness: Tensor) -> Tensor:
        """Logits of objectness times class, by which a head ranks that has both.

        Args:
            logits: Of the classes, (B, N, C).
            objectness: Logits, (B, N, 1).

        Returns:
            (B, N, C); of their maxima, (B, N, 1), where the penalty asks for no more.
        """
        if self.loss_bg.mode == "max":  # of the products too
            logits = logits.max(-1, keepdim=True).values
        return joint_logits(logits, objectness)
