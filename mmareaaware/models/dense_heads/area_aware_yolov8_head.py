"""YOLOv8 / YOLO11 head that tells the losses how large the objects are."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmyolo.models import YOLOv8Head
from mmyolo.models.utils import gt_instances_preprocess
from torch import Tensor

from ..losses import AreaAwareBCELoss, share_of_total


class Predictions(NamedTuple):
    """What the network said of every prior, float32 or wider."""

    logits: Tensor  # (B, N, C)
    boxes: Tensor  # (B, N, 4), decoded, xyxy in px of the network input
    dists: Tensor  # (B, N, 4 * reg_max)


class Priors(NamedTuple):
    """The points of all levels."""

    points: Tensor  # (N, 4): x, y, stride, stride
    strides: Tensor  # (N, 1)
    input_area: int  # of the network input, in px²

    @property
    def centers(self) -> Tensor:
        return self.points[:, :2]


class Assignment(NamedTuple):
    """What every prior should have said."""

    boxes: Tensor  # (B, N, 4), xyxy in px; meaningless where not fg
    scores: Tensor  # (B, N, C), soft targets
    score_sums: Tensor  # (B, N), over the classes
    fg: Tensor  # (B, N), bool


@MODELS.register_module()
class AreaAwareYOLOv8Head(YOLOv8Head):
    """``YOLOv8Head`` for size-aware classification losses and a background penalty.

    Serves YOLOv8 and YOLO11, which differ in the head module only. With stock losses
    and no penalty it gives the losses and gradients of ``YOLOv8Head``, bit for bit, in
    one process or without ``sync_avg_factor``. (In half precision it computes boxes and
    losses in float32, which stock does not.)

    Args:
        *args: As for ``YOLOv8Head``.
        loss_bg: Config of the background penalty, ``dict(type='BgPenaltyLoss')``; None
            for none.
        sync_avg_factor: Average the loss normalisers over the ranks, so that W ranks
            with b images each give the gradients of one process with W·b images.
        **kwargs: As for ``YOLOv8Head``. ``loss_cls`` may be an ``AreaAwareBCELoss``.

    Raises:
        ValueError: A per-class setting of ``loss_cls`` does not fit the class count.
    """

    def __init__(
        self,
        *args,
        loss_bg: dict | None = None,
        sync_avg_factor: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.loss_cls, AreaAwareBCELoss):
            self.loss_cls.set_num_classes(self.num_classes)
        self.loss_bg = None if loss_bg is None else MODELS.build(loss_bg)
        self.sync_avg_factor = sync_avg_factor
        self._priors_key = None

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Sequence | None = None,
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            cls_scores: Class logits of each level, (B, C, H, W).
            bbox_preds: Distances to the box sides in strides, (B, 4, H, W) a level.
            bbox_dist_preds: Their distributions, (B, H·W, 4, reg_max) a level.
            batch_gt_instances: Boxes as (G, 6) [image, label, x1, y1, x2, y2] in px of
                the network input, or a list of InstanceData.
            batch_img_metas: One dict per image.
            batch_gt_instances_ignore: Not used, as in ``YOLOv8Head``.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_dfl`` and, with a penalty, ``loss_bg``;
            beside them, to be logged and not summed, ``num_pos`` and what the losses
            report (``area_weight_mean``, ``bg_penalty_mean``, ``_max``, ``_min``).
        """
        num_imgs = len(batch_img_metas)
        priors = self._priors(cls_scores)
        preds = self._flatten(cls_scores, bbox_preds, bbox_dist_preds, priors)
        assigned = self._assign(preds, priors, batch_gt_instances, num_imgs)
        avg_factor = share_of_total(assigned.scores.sum(), self.sync_avg_factor)

        loss_cls, stats = self._loss_cls(preds, assigned, priors, avg_factor)
        loss_bbox, loss_dfl = self._loss_box(preds, assigned, priors, avg_factor)
        losses = dict(loss_cls=loss_cls, loss_bbox=loss_bbox, loss_dfl=loss_dfl)
        if self.loss_bg is not None:
            losses["loss_bg"], bg_stats = self.loss_bg(
                preds.logits,
                assigned.score_sums,
                sync=self.sync_avg_factor,
                return_stats=True,
            )
            stats.update(bg_stats)
        world_size = get_world_size()
        losses = {k: v * num_imgs * world_size for k, v in losses.items()}
        return dict(**losses, **stats, num_pos=assigned.fg.sum().float())

    def _priors(self, cls_scores: Sequence[Tensor]) -> Priors:
        """The points of all levels, made anew when size, dtype or device change."""
        dtype = _at_least_float32(cls_scores[0])
        sizes = [tuple(score.shape[2:]) for score in cls_scores]
        key = (sizes, dtype, cls_scores[0].device)
        if key != self._priors_key:
            points = torch.cat(
                self.prior_generator.grid_priors(
                    sizes, dtype=dtype, device=cls_scores[0].device, with_stride=True
                )
            )
            height, width = sizes[0]
            self._cached_priors = Priors(
                points,
                points[:, 2:3],
                height * width * self.featmap_strides[0] ** 2,
            )
            self._priors_key = key
        return self._cached_priors

    def _flatten(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        priors: Priors,
    ) -> Predictions:
        """Join the levels and decode the boxes."""
        logits = torch.cat([s.flatten(2).transpose(1, 2) for s in cls_scores], 1)
        distances = torch.cat([p.flatten(2).transpose(1, 2) for p in bbox_preds], 1)
        dists = torch.cat([d.flatten(2) for d in bbox_dist_preds], 1)
        boxes = self.bbox_coder.decode(
            priors.centers,
            distances.to(_at_least_float32(distances)),
            priors.strides[:, 0],
        )
        return Predictions(
            logits.to(_at_least_float32(logits)),
            boxes,
            dists.to(_at_least_float32(dists)),
        )

    def _assign(
        self,
        preds: Predictions,
        priors: Priors,
        batch_gt_instances: Tensor | Sequence,
        num_imgs: int,
    ) -> Assignment:
        """Match priors and boxes."""
        # (B, G, 5): label and box, rows of zeros where an image has fewer boxes
        gt = gt_instances_preprocess(batch_gt_instances, num_imgs)
        labels, boxes = gt[..., :1], gt[..., 1:]
        result = self.assigner(
            preds.boxes.detach().type(boxes.dtype),
            preds.logits.detach().sigmoid(),
            priors.points,
            labels,
            boxes,
            (boxes.sum(-1, keepdim=True) > 0).float(),
        )
        return Assignment(
            result["assigned_bboxes"],
            result["assigned_scores"],
            result["assigned_scores"].sum(-1),
            result["fg_mask_pre_prior"].bool(),
        )

    def _loss_cls(
        self,
        preds: Predictions,
        assigned: Assignment,
        priors: Priors,
        avg_factor: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(self.loss_cls, AreaAwareBCELoss):
            return self.loss_cls(preds.logits, assigned.scores).sum() / avg_factor, {}
        return self.loss_cls(
            preds.logits,
            assigned.scores,
            avg_factor=avg_factor,
            reduction_override="mean",
            areas=_box_areas(assigned.boxes),
            fg=assigned.fg,
            sync=self.sync_avg_factor,
            return_stats=True,
            pred_areas=_box_areas(preds.boxes.detach()),
            image_area=priors.input_area,
            strides=priors.strides[:, 0],
            level_strides=self.featmap_strides,
        )

    def _loss_box(
        self,
        preds: Predictions,
        assigned: Assignment,
        priors: Priors,
        avg_factor: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """IoU and distribution focal loss of the P positives, in units of strides."""
        image, prior = assigned.fg.nonzero(as_tuple=True)  # (P,), (P,)
        strides = priors.strides[prior]  # (P, 1)
        target_boxes = assigned.boxes[image, prior] / strides  # (P, 4)
        weight = assigned.score_sums[image, prior].unsqueeze(-1)  # (P, 1)
        loss_bbox = self.loss_bbox(
            preds.boxes[image, prior] / strides, target_boxes, weight=weight
        )
        reg_max = self.head_module.reg_max
        target_distances = self.bbox_coder.encode(
            priors.centers[prior] / strides, target_boxes, max_dis=reg_max - 1, eps=0.01
        )
        loss_dfl = self.loss_dfl(
            preds.dists[image, prior].reshape(-1, reg_max),
            target_distances.reshape(-1),
            weight=weight.expand(-1, 4).reshape(-1),
            avg_factor=avg_factor,
        )
        return loss_bbox / avg_factor, loss_dfl


def _box_areas(boxes: Tensor) -> Tensor:
    """Areas (...) of boxes xyxy (..., 4), none below 0."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
