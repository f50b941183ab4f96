"""mmdet's heads on queries, with matched queries weighted by the area of their box."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import DeformableDETRHead, DINOHead
from mmengine.registry import MODELS
from torch import Tensor

from ..losses import Positives, PyramidMembershipWeight
from .penalized_head import Matches, PenalizedHeadMixin


class AreaAwareQueryHeadMixin(PenalizedHeadMixin):
    r"""Put it before a head of the DETR family with sigmoid classification.

    In every decoder layer, and in the proposals of the encoder, the losses of a matched
    query are multiplied by $\varphi(A)$: classification, L1 and IoU, since a
    query is matched by all of them. Queries without a box keep their weight, exactly.

    ``loss_bg`` penalises the class score of the queries that the last layer leaves
    without a box, duplicates among them, in proportion to the classification loss.
    Ignored boxes are not looked at, as in the stock head.

    Raises:
        ValueError: The area weight asks for pyramid levels, which queries have not, or
            the classification is a softmax.
    """

    _layers: list[tuple] | None = None  # of the losses that are being computed

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.area_weight, PyramidMembershipWeight):
            raise ValueError(
                f"area_weight={self.area_weight!r} asks for the pyramid level of a "
                f"positive, and the queries of {type(self).__name__} have none: take "
                "another area weight, dict(type='PowerAreaWeight') for one"
            )
        if not self.loss_cls.use_sigmoid:
            raise ValueError(
                f"{type(self).__name__} needs a loss_cls with use_sigmoid=True, as "
                f"FocalLoss, got {self.loss_cls}"
            )

    def loss_by_feat(self, all_layers_cls_scores: Tensor, *args, **kwargs) -> dict:
        """The losses of the stock head, the penalty, and numbers for the log.

        ``num_pos``, ``area_weight_mean`` and ``bg_penalty_…`` are those of the last
        decoder layer.
        """
        layers = self._layers = []
        try:
            losses = super().loss_by_feat(all_layers_cls_scores, *args, **kwargs)
        finally:
            self._layers = None
        # After the decoder layers came the proposals of the encoder
        scores, labels, mean = layers[len(all_layers_cls_scores) - 1]
        positive = torch.stack(labels) < self.num_classes
        matches = Matches(
            positive, torch.zeros_like(positive), positive.sum(dtype=torch.float32)
        )
        return losses | self.penalize(lambda: torch.stack(scores), matches) | mean

    def get_targets(
        self,
        cls_scores_list: list[Tensor],
        bbox_preds_list: list[Tensor],
        batch_gt_instances: list,
        batch_img_metas: list[dict],
    ) -> tuple:
        """The targets of the stock head, the weights of matched queries times φ."""
        targets = super().get_targets(
            cls_scores_list, bbox_preds_list, batch_gt_instances, batch_img_metas
        )
        targets = self.weigh_queries(targets, bbox_preds_list, batch_img_metas)
        mean = self.pop_area_weight_mean()
        if self._layers is not None:
            self._layers.append((cls_scores_list, targets[0], mean))
        return targets

    def weigh_queries(
        self,
        targets: tuple,
        bbox_preds: Sequence[Tensor],
        batch_img_metas: Sequence[dict],
    ) -> tuple:
        """The same targets, with φ in the weights of labels and boxes.

        Args:
            targets: Labels (Q,), their weights (Q,), boxes (Q, 4) and their weights (Q,
                4) of each image, and more.
            bbox_preds: (Q, 4) of each image.
            batch_img_metas: One dict per image.
        """
        labels, label_weights, boxes, box_weights, *rest = targets
        if self.area_weight is None:
            return targets
        numbers = [len(image) for image in labels]
        sizes = [meta["img_shape"] for meta in batch_img_metas]
        weights = torch.cat(label_weights)
        matched = (torch.cat(labels) < self.num_classes).nonzero().squeeze(1)
        height, width = batch_img_metas[0].get("batch_input_shape", (None, None))
        positives = Positives(
            areas=_areas(boxes, sizes)[matched],
            pred_areas=_areas(bbox_preds, sizes)[matched],
            image_area=height and height * width,
        )
        new = self.weigh_labels(weights[matched], positives)
        phi = weights.new_ones(len(weights)).index_put((matched,), new)
        weights = weights.index_put((matched,), new)
        box_weights = torch.cat(box_weights) * phi.unsqueeze(1)
        return (
            labels,
            weights.split(numbers),
            boxes,
            box_weights.split(numbers),
            *rest,
        )


@torch.no_grad()
def _areas(boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """In px², of normalised boxes cxcywh (Q, 4) of images of height and width."""
    return torch.cat(
        [
            image[:, 2:].float().prod(1) * (height * width)
            for image, (height, width) in zip(boxes, sizes, strict=True)
        ]
    )


@MODELS.register_module()
class AreaAwareDeformableDETRHead(AreaAwareQueryHeadMixin, DeformableDETRHead):
    """``DeformableDETRHead`` in which matched queries are weighted by area."""


@MODELS.register_module()
class AreaAwareDINOHead(AreaAwareQueryHeadMixin, DINOHead):
    """``DINOHead`` in which matched queries are weighted by area.

    The noised copies of a box, which are to find it again, have its weight too.
    """

    def _loss_dn_single(
        self, dn_cls_scores: Tensor, dn_bbox_preds: Tensor, *args, **kwargs
    ) -> tuple:
        self._noised = dn_bbox_preds
        try:
            return super()._loss_dn_single(
                dn_cls_scores, dn_bbox_preds, *args, **kwargs
            )
        finally:
            del self._noised

    def get_dn_targets(
        self, batch_gt_instances: list, batch_img_metas: list[dict], dn_meta: dict
    ) -> tuple:
        """The targets of the stock head, the weights of noised boxes times φ."""
        targets = super().get_dn_targets(batch_gt_instances, batch_img_metas, dn_meta)
        targets = self.weigh_queries(targets, self._noised, batch_img_metas)
        self.pop_area_weight_mean()
        return targets
