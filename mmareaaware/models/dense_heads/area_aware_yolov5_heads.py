"""mmyolo's YOLOv5 and YOLOv7 heads with classes and objectness weighted by area."""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from mmyolo.models import YOLOv5Head, YOLOv7Head
from torch import Tensor

from .anchor_levels import AnchorLevelsMixin, Level


@MODELS.register_module()
class AreaAwareYOLOv5Head(AnchorLevelsMixin, YOLOv5Head):
    """``YOLOv5Head`` with classes and objectness of positives weighted by area."""

    def match(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        objectnesses: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
    ) -> list[tuple[float, list[Level]]]:
        """One branch, whose positives depend on the true boxes alone."""
        targets = self._convert_gt_to_norm_format(batch_gt_instances, batch_img_metas)
        levels = [
            self._match_level(*maps, targets)
            for maps in zip(
                cls_scores,
                bbox_preds,
                objectnesses,
                self.priors_base_sizes,
                strict=True,
            )
        ]
        return [(1.0, levels)]

    def _match_level(
        self,
        cls_scores: Tensor,
        bbox_preds: Tensor,
        objectness: Tensor,
        anchors: Tensor,
        targets: Tensor,
    ) -> Level:
        """A box and an anchor match whose sides are alike, in up to three cells.

        That of the box's centre, and the neighbours whose border is nearest to it.

        Args:
            cls_scores: (B, A·C, H, W).
            bbox_preds: (B, A·4, H, W).
            objectness: (B, A, H, W).
            anchors: Width and height in cells, (A, 2).
            targets: Of each anchor all boxes, with image, label, centre, width and
                height as shares of the input, and the anchor, (A, G, 7).
        """
        logits, preds = (
            maps.unflatten(1, (self.num_base_priors, -1)).permute(0, 1, 3, 4, 2)
            for maps in (cls_scores, bbox_preds)
        )  # (B, A, H, W, ·)
        height, width = objectness.shape[2:]
        size = targets.new_tensor([width, height])
        boxes = targets[..., 2:6] * size.repeat(2)
        ratio = boxes[..., 2:] / anchors.unsqueeze(1)  # (A, G, 2)
        fits = torch.max(ratio, 1 / ratio).amax(2) < self.prior_match_thr
        boxes, targets = boxes[fits], targets[fits]
        centre = boxes[:, :2]
        near = [
            (distance % 1 < self.near_neighbor_thr) & (distance > 1)
            for distance in (centre, size - centre)  # from the left and upper side, ...
        ]
        own = near[0].new_ones(1, len(boxes))
        shift, pair = torch.cat([own, near[0].T, near[1].T]).nonzero(as_tuple=True)
        boxes, targets = boxes[pair], targets[pair]
        shifts = self.grid_offset[shift, 0] * self.near_neighbor_thr
        cell = (boxes[:, :2] - shifts).long()
        image, label, anchor = targets[:, [0, 1, 6]].long().unbind(1)
        where = image, anchor, cell[:, 1], cell[:, 0]
        return Level(
            objectness,
            logits,
            preds,
            where,
            logits[where],
            self._decode_bbox_to_xywh(preds[where], anchors[anchor]),
            label,
            torch.cat([boxes[:, :2] - cell, boxes[:, 2:]], 1),
        )


@MODELS.register_module()
class AreaAwareYOLOv7Head(AnchorLevelsMixin, YOLOv7Head):
    """``YOLOv7Head`` with classes and objectness of positives weighted by area.

    In the auxiliary branch too, which has weights of its own positives; the penalty is
    on the branch of inference.
    """

    def match(
        self,
        cls_scores: Sequence[Tensor | Sequence[Tensor]],
        bbox_preds: Sequence[Tensor | Sequence[Tensor]],
        objectnesses: Sequence[Tensor | Sequence[Tensor]],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
    ) -> list[tuple[float, list[Level]]]:
        """The branch of inference and, where there is one, the auxiliary.

        The positives of both depend on what the first predicts; the second has more.
        """
        maps = bbox_preds, objectnesses, cls_scores
        if isinstance(cls_scores[0], Tensor):
            branches = [maps]
        else:
            pairs = [zip(*kind, strict=True) for kind in maps]
            branches = list(zip(*pairs, strict=True))
        preds = [self._merge_predict_results(*branch) for branch in branches]
        targets = self._convert_gt_to_norm_format(batch_gt_instances, batch_img_metas)
        shape = batch_img_metas[0]["batch_input_shape"]
        result = []
        for number, of_branch in enumerate(preds):
            assigned = self.assigner(
                preds[0],
                targets,
                shape,
                self.priors_base_sizes,
                self.grid_offset,
                near_neighbor_thr=self.near_neighbor_thr * (1 + number),
            )
            gain = self.aux_loss_weights if number else 1.0
            result.append((gain, self._levels(of_branch, assigned)))
        return result

    def _levels(self, preds: Sequence[Tensor], assigned: dict) -> list[Level]:
        """From predictions (B, A, H, W, 5 + C) and the result of the assigner."""
        pairs = assigned["mlvl_positive_infos"]
        nothing = [torch.empty(0)] * len(pairs)
        anchors = assigned["mlvl_priors"] or nothing  # empty for a batch without boxes
        targets = assigned["mlvl_targets_normed"] or nothing
        return [
            self._level(*level)
            for level in zip(preds, pairs, anchors, targets, strict=True)
        ]

    def _level(
        self, preds: Tensor, pairs: Tensor, anchors: Tensor, targets: Tensor
    ) -> Level:
        image, anchor, column, row = pairs.long().unbind(1)
        if not len(pairs):  # what the assigner has of no pairs has any shape
            anchors, targets = preds.new_zeros(0, 2), preds.new_zeros(0, 7)
        where = image, anchor, row, column
        height, width = preds.shape[2:4]
        size = targets.new_tensor([width, height, width, height])
        cell = torch.stack([column, row], 1)
        positives = preds[where]  # (P, 5 + C)
        return Level(
            preds[..., 4],
            preds[..., 5:],
            preds[..., :4],
            where,
            positives[:, 5:],
            self._decode_bbox_to_xywh(positives[:, :4], anchors, cell),
            targets[:, 1].long(),
            targets[:, 2:6] * size,
        )
