"""mmdet's heads on points, whose stock losses know no label weights."""

import torch
from mmdet.models.dense_heads import FCOSHead, YOLOXHead
from mmengine.registry import MODELS
from torch import Tensor

from ..box_areas import box_areas
from ..given_weight import given_weight
from .area_aware_dense_head import AreaAwareDenseHeadMixin


class AreaAwarePointHeadMixin(AreaAwareDenseHeadMixin):
    """Put it before an ``FCOSHead``: its loss is given weights, and it has none itself.

    The penalty is on class score × centerness, as boxes are ranked at test time.
    Background inside ignored boxes is left out.
    """

    leaves_out_ignored = True

    def loss_by_feat(self, *args, **kwargs) -> dict:
        """As the stock head, with weights in ``loss_cls``."""
        with given_weight(self.loss_cls, self._weights_of_points):
            return super().loss_by_feat(*args, **kwargs)

    def get_targets(self, points: list[Tensor], batch_gt_instances: list) -> tuple:
        """The targets of the stock head, which are level after level, (B·N_l, ·)."""
        labels, bbox_targets = super().get_targets(points, batch_gt_instances)
        shape = len(batch_gt_instances), -1
        areas = [
            box_areas(self.decode_positives(t, t.new_zeros(len(t), 2), stride))
            for t, stride in zip(bbox_targets, self.strides, strict=True)
        ]
        self.weigh_levels(
            [level.view(shape) for level in labels],
            [torch.ones_like(level).view(shape) for level in areas],
            [level.view(shape) for level in areas],
            points,
        )
        return labels, bbox_targets

    def decode_positives(
        self, preds: Tensor, priors: Tensor, strides: Tensor | float
    ) -> Tensor:
        """The boxes (P, 4) in px, from distances in px or in strides."""
        distances = preds * strides if self.norm_on_bbox else preds
        return self.bbox_coder.decode(priors, distances)

    def _weights_of_points(self) -> Tensor | None:
        """For ``loss_cls``, which has all images level after level, (B·N,)."""
        if self._step.weights is None:
            return None
        numbers = [level[0, 0].numel() for level in self._step.maps[0]]
        return torch.cat([w.flatten() for w in self._step.weights.split(numbers, 1)])


@MODELS.register_module()
class AreaAwareFCOSHead(AreaAwarePointHeadMixin, FCOSHead):
    """``FCOSHead`` in which the classification loss of positives is weighted by area.

    Centerness, which is learned at positives alone, keeps its weight.
    """


@MODELS.register_module()
class AreaAwareMMDetYOLOXHead(AreaAwareDenseHeadMixin, YOLOXHead):
    r"""mmdet's ``YOLOXHead`` with classification and objectness weighted by area.

    With $w_i = \varphi(A_i)$ for positives, 1 for background, exactly, and 0 for
    background inside ignored boxes, o objectness and t the overlap of the prediction:

    $$
    L_{obj} = \frac{1}{N_{pos}} \sum_i w_i \, BCE(o_i, [i \in pos]), \quad
    L_{cls} = \frac{1}{N_{pos}} \sum_{i \in pos} w_i \sum_c BCE(z_{ic}, t_{ic})
    $$

    The penalty is on class score × objectness, as boxes are ranked at test time.
    """

    leaves_out_ignored = True

    def loss_by_feat(self, *args, **kwargs) -> dict:
        """As the stock head, with weights in ``loss_obj`` and ``loss_cls``."""
        self._images: list[tuple] = []
        try:
            with (
                given_weight(self.loss_obj, self._weights_of_priors),
                given_weight(self.loss_cls, self._weights_of_positives),
            ):
                return super().loss_by_feat(*args, **kwargs)
        finally:
            del self._images

    def _get_targets_single(self, priors: Tensor, *args, **kwargs) -> tuple:
        """The targets of the stock head for one image, whose matches are kept."""
        targets = super()._get_targets_single(priors, *args, **kwargs)
        is_positive, boxes = targets[0], targets[3]
        areas = priors.new_zeros(len(priors), dtype=torch.float32)
        areas[is_positive] = box_areas(boxes).float()
        self._images.append((is_positive, areas, priors))
        return targets

    def decode_positives(
        self, preds: Tensor, priors: Tensor, strides: Tensor
    ) -> Tensor:
        """The boxes (P, 4) in px, from points with their strides."""
        return self._bbox_decode(priors, preds)

    def points_of(self, priors: Tensor) -> Tensor:
        """The centres (N_l, 2) of the cells, where the assigner too has the priors."""
        return priors[:, :2] + priors[:, 2:] / 2

    def _weights_of_priors(self) -> Tensor | None:
        """For ``loss_obj``, which comes first, (B·N, 1)."""
        masks, areas, priors = zip(*self._images, strict=True)
        labels = torch.where(torch.stack(masks), 0, self.num_classes)
        joint = torch.stack(areas)
        numbers = [level[0, 0].numel() for level in self._step.maps[0]]
        self.weigh_levels(
            labels.split(numbers, 1),
            torch.ones_like(joint).split(numbers, 1),
            joint.split(numbers, 1),
            priors[0].split(numbers),
        )
        weights = self._step.weights
        return None if weights is None else weights.view(-1, 1)

    def _weights_of_positives(self) -> Tensor | None:
        """For ``loss_cls``, (P, 1)."""
        weights = self._step.weights
        if weights is None:
            return None
        return weights[self._step.matches.positive].unsqueeze(1)
