"""mmdet's anchor heads with positives weighted by the area of their box."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import ATSSHead, RetinaHead, RPNHead
from mmdet.structures.bbox import get_box_tensor
from mmengine.registry import MODELS
from torch import Tensor

from ..box_areas import box_areas
from ..label_weighting import LabelWeighting
from ..losses import Positives


class LevelLabelsMixin(LabelWeighting):
    """What all heads with anchors on pyramid levels share."""

    _bbox_preds: list[Tensor] | None = None

    def loss_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args, **kwargs
    ) -> dict[str, Tensor | list[Tensor]]:
        """The losses of the stock head, and ``area_weight_mean`` for the log."""
        self._bbox_preds = bbox_preds
        try:
            losses = super().loss_by_feat(cls_scores, bbox_preds, *args, **kwargs)
        finally:
            self._bbox_preds = None
        return losses | self.pop_area_weight_mean()

    def _weigh_levels(
        self,
        labels: Sequence[Tensor],
        label_weights: Sequence[Tensor],
        areas: Sequence[Tensor],
        anchors: Sequence[Tensor],
        batch_img_metas: Sequence[dict],
    ) -> list[Tensor]:
        """Label weights of the levels, (B, N_l) each, from maps (B, N_l).

        ``anchors`` are (N_l, 4), or (B, N_l, 4).
        """
        where = [
            ((level >= 0) & (level < self.num_classes)).nonzero(as_tuple=True)
            for level in labels
        ]

        def gather(levels: Sequence[Tensor]) -> Tensor:
            return torch.cat([x[at] for x, at in zip(levels, where, strict=True)])

        numbers = [len(image) for image, _ in where]
        level_strides = [stride[0] for stride in self.prior_generator.strides]
        height, width = batch_img_metas[0].get("batch_input_shape", (None, None))
        positives = Positives(
            areas=gather(areas),
            pred_areas=self._predicted_areas(where, anchors),
            strides=torch.cat(
                [
                    weights.new_full((number,), stride)
                    for weights, number, stride in zip(
                        label_weights, numbers, level_strides, strict=True
                    )
                ]
            ),
            level_strides=level_strides,
            image_area=height and height * width,
        )
        weights = self.weigh_labels(gather(label_weights), positives)
        return [
            level.index_put(at, part)
            for level, at, part in zip(
                label_weights, where, weights.split(numbers), strict=True
            )
        ]

    @torch.no_grad()
    def _predicted_areas(
        self, where: Sequence[tuple[Tensor, Tensor]], anchors: Sequence[Tensor]
    ) -> Tensor | None:
        """Areas (P,) of the decoded predictions of the positives of all levels.

        None outside of a loss, where there are no predictions.
        """
        if self._bbox_preds is None:
            return None
        areas = []
        for preds, (image, anchor), level in zip(
            self._bbox_preds, where, anchors, strict=True
        ):
            size = self.bbox_coder.encode_size
            preds = preds.permute(0, 2, 3, 1).unflatten(
                3, (-1, size)
            )  # (B, H, W, A, 4)
            preds = preds.flatten(1, 3)  # (B, N_l, 4)
            own = level[anchor] if level.dim() == 2 else level[image, anchor]
            boxes = self.bbox_coder.decode(own, preds[image, anchor])
            areas.append(box_areas(boxes))
        return torch.cat(areas).float()


class AreaAwareAnchorHeadMixin(LevelLabelsMixin):
    """Put it before an ``AnchorHead``, whose box targets are encoded."""

    def _get_targets_single(self, *args, **kwargs) -> tuple:
        """What the stock head returns, and the area of each anchor's box, (N,)."""
        targets = super()._get_targets_single(*args, **kwargs)
        labels, pos_inds, sampling_result = targets[0], targets[4], targets[6]
        areas = torch.zeros_like(labels, dtype=torch.float32)
        # By increasing index: the labels may span more anchors than were sampled from.
        matched = sampling_result.pos_gt_bboxes[pos_inds.argsort()]
        areas[labels != self.num_classes] = box_areas(matched).float()
        return *targets, areas

    def get_targets(
        self,
        anchor_list: list[list[Tensor]],
        valid_flag_list: list[list[Tensor]],
        batch_gt_instances: list,
        batch_img_metas: list[dict],
        *args,
        **kwargs,
    ) -> tuple:
        """The targets of the stock head, the label weights of positives times φ."""
        labels, label_weights, *targets, areas = super().get_targets(
            anchor_list,
            valid_flag_list,
            batch_gt_instances,
            batch_img_metas,
            *args,
            **kwargs,
        )
        if self.area_weight is not None:
            anchors = [get_box_tensor(level) for level in anchor_list[0]]
            label_weights = self._weigh_levels(
                labels, label_weights, areas, anchors, batch_img_metas
            )
        return labels, label_weights, *targets


@MODELS.register_module()
class AreaAwareRPNHead(AreaAwareAnchorHeadMixin, RPNHead):
    """``RPNHead`` in which the label weights of positives are weighted by area."""

    def loss_by_feat(self, *args, **kwargs) -> dict:
        """As the stock head, and ``rpn_area_weight_mean`` for the log."""
        losses = super().loss_by_feat(*args, **kwargs)
        if "area_weight_mean" in losses:  # the RoI head has one too
            losses["rpn_area_weight_mean"] = losses.pop("area_weight_mean")
        return losses


@MODELS.register_module()
class AreaAwareRetinaHead(AreaAwareAnchorHeadMixin, RetinaHead):
    """``RetinaHead`` in which the label weights of positives are weighted by area."""


@MODELS.register_module()
class AreaAwareATSSHead(LevelLabelsMixin, ATSSHead):
    """``ATSSHead`` in which the label weights of positives are weighted by area."""

    def get_targets(
        self,
        anchor_list: list[list[Tensor]],
        valid_flag_list: list[list[Tensor]],
        batch_gt_instances: list,
        batch_img_metas: list[dict],
        *args,
        **kwargs,
    ) -> tuple:
        """The targets of the stock head, the label weights of positives times φ.

        They begin with the anchors, and the box targets are the matched boxes.
        """
        anchors, labels, label_weights, bbox_targets, *rest = super().get_targets(
            anchor_list,
            valid_flag_list,
            batch_gt_instances,
            batch_img_metas,
            *args,
            **kwargs,
        )
        if self.area_weight is not None:
            areas = [box_areas(boxes).float() for boxes in bbox_targets]
            label_weights = self._weigh_levels(
                labels, label_weights, areas, anchors, batch_img_metas
            )
        return anchors, labels, label_weights, bbox_targets, *rest
