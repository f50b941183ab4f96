"""YOLOv8 / YOLO11 head that weighs positives and keeps background quiet."""

from collections.abc import Sequence

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmyolo.models import YOLOv8Head
from torch import Tensor

from ..box_areas import box_areas
from ..losses import (
    AreaAwareBCELoss,
    AreaWeighting,
    Positives,
    PriorPlaces,
    SparseLogits,
)
from ..losses.bg_penalty_loss import build_bg_penalty
from ..task_modules import (
    PriorGrid,
    SparseTaskAlignedAssigner,
    check_ground_truth,
)
from .box_trust import TRUE_BOXES, BoxTrust, times
from .box_voting import BoxVotingMixin
from .fast_samples import FastSamplesMixin
from .ignored_priors import leave_out
from .object_balance import check_balance
from .size_score_shift import ScoreShiftMixin
from .yolo_box_losses import are_yolov8s, box_losses, fused_box_losses
from .yolo_matching import (
    DenseMatching,
    Matched,
    Outputs,
    Priors,
    SparseMatching,
    flat_ground_truth,
    is_plain,
    outputs_for_sparse_matching,
)
from .yolo_weights import weigh


@MODELS.register_module()
class AreaAwareYOLOv8Head(
    FastSamplesMixin, ScoreShiftMixin, BoxVotingMixin, YOLOv8Head
):
    """``YOLOv8Head`` for size-aware classification losses and a background penalty.

    Serves YOLOv8 and YOLO11, which differ in the head module only. With stock losses
    and no penalty it gives the losses and gradients of ``YOLOv8Head``, bit for bit, in
    one process or without ``sync_avg_factor``. (In half precision it computes losses in
    float32, which stock does not.)

    With ``SparseTaskAlignedAssigner`` no tensor of boxes × priors is made and, with an
    ``AreaAwareBCELoss``, none of dense targets; boxes too are computed in float32. Any
    other assigner works as in stock.

    Each positive has one weight, made here once a step. Priors inside ignored boxes
    that have no target take part in no loss.

    Args:
        *args: As for ``YOLOv8Head``.
        loss_bg: Config of the background penalty, ``dict(type='BgPenaltyLoss')``; None
            for none.
        weigh_boxes: Whether the area weight of ``loss_cls`` weighs the box losses too.
        weigh_priors: Whether it weighs all priors by the area that each predicts,
            background too, instead of positives by that of their box.
        balance_objects: In the box losses, from 0, where each positive counts by its
            target, to 1, where all objects count the same; see
            `object_weights`.
        sync_avg_factor: Average the loss normalisers over the ranks, so that W ranks
            with b images each give the gradients of one process with W·b images.
        **kwargs: As for ``YOLOv8Head``. ``loss_cls`` may be an ``AreaAwareBCELoss``.
            ``score_shift``: see `ScoreShiftMixin`.

    Raises:
        ValueError: A per-class setting of ``loss_cls`` does not fit the class count,
            ``loss_bg`` is another loss, boxes are to be weighed by an area weight
            that ``loss_cls`` has not, or objects to be balanced that the assigner does
            not tell apart.
    """

    def __init__(
        self,
        *args,
        loss_bg: dict | None = None,
        weigh_boxes: bool = False,
        weigh_priors: bool = False,
        balance_objects: float = 0.0,
        sync_avg_factor: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.loss_cls, AreaAwareBCELoss):
            self.loss_cls.set_num_classes(self.num_classes)
        self.loss_bg = build_bg_penalty(loss_bg)
        for name, value in dict(boxes=weigh_boxes, priors=weigh_priors).items():
            if value and self.weighting is None:
                raise ValueError(
                    f"weigh_{name}=True takes the area weight of loss_cls, which has "
                    "none: give loss_cls=dict(type='AreaAwareBCELoss', "
                    f"area_weight=...), or weigh_{name}=False"
                )
        self.weigh_boxes = weigh_boxes
        self.weigh_priors = weigh_priors
        check_balance(balance_objects, getattr(self, "assigner", None))
        self.balance_objects = balance_objects
        self.sync_avg_factor = sync_avg_factor
        self._priors_key: tuple | None = None

    @property
    def weighting(self) -> AreaWeighting | None:
        """What weighs the positives: ``loss_cls``, if it has an area weight."""
        has_weight = getattr(self.loss_cls, "area_weight", None) is not None
        return self.loss_cls if has_weight else None

    def forward(self, x: Sequence[Tensor]) -> Outputs:
        """What the head module returns of the feature maps.

        In training with a sparse assigner the boxes are decoded without a gradient, see
        ``yolo_matching.outputs_for_sparse_matching``.
        """
        if self.training and self._is_sparse and is_plain(self.head_module):
            return outputs_for_sparse_matching(self.head_module, x)
        return super().forward(x)

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Tensor | Sequence | None = None,
        trust: BoxTrust | None = None,
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            cls_scores: Class logits of each level, (B, C, H, W).
            bbox_preds: Distances to the box sides in strides, (B, 4, H, W) a level.
            bbox_dist_preds: Their distributions, (B, H·W, 4, reg_max) a level.
            batch_gt_instances: Boxes as (G, 6) [image, label, x1, y1, x2, y2] in px of
                the network input, or a list of InstanceData.
            batch_img_metas: One dict per image.
            batch_gt_instances_ignore: Ignored boxes as (M, 5) [image, x1, y1, x2, y2]
                in px of the network input, or a list of InstanceData or None. Priors
                strictly inside one that have no target are left out of the
                classification loss, of the penalty and of its background.
            trust: How far the boxes are believed. With it ``target_sum`` is returned
                too, this rank's share of the sum of the targets.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_dfl`` and, with a penalty, ``loss_bg``;
            beside them, to be logged and not summed, ``num_pos`` and what the losses
            report (``area_weight_mean``, ``bg_penalty_mean``, ``_max``, ``_min``).
        """
        num_imgs = len(batch_img_metas)
        outputs = cls_scores, bbox_preds, bbox_dist_preds
        matched = self.match(outputs, batch_gt_instances, num_imgs)
        matched, of_positives = (trust or TRUE_BOXES).apply(matched)
        matched, ignored = leave_out(matched, batch_gt_instances_ignore)
        weights, shares, stats = weigh(self, matched, ignored)
        avg_factor = shares["targets"]
        if trust is not None:
            stats["target_sum"] = avg_factor
            avg_factor = trust.floor(avg_factor)

        logits = self._condense(matched)
        in_cls = times(weights.positives, of_positives.cls)
        weight = matched.weight_of_priors(in_cls, ignored, weights.background)
        loss_cls = self._loss_cls(matched, logits, weight) / avg_factor
        by_score = times(matched.targets.score, weights.boxes)
        by_score = times(by_score, of_positives.box)
        loss_bbox, loss_dfl = self._loss_box(matched, by_score, avg_factor)
        losses = dict(loss_cls=loss_cls, loss_bbox=loss_bbox, loss_dfl=loss_dfl)
        if self.loss_bg is not None:
            losses["loss_bg"], bg_stats = self._loss_bg(
                matched, logits, ignored, shares.get("background", avg_factor)
            )
            stats.update(bg_stats)
        total_imgs = num_imgs * get_world_size()
        losses = {k: v * total_imgs for k, v in losses.items()}
        num_pos = avg_factor.new_full((), len(by_score))
        return dict(**losses, **stats, num_pos=num_pos)

    def match(
        self, outputs: Outputs, batch_gt_instances: Tensor | Sequence, num_imgs: int
    ) -> Matched:
        """Which prior is to find which box.

        Args:
            outputs: What ``forward`` returned in training mode.
            batch_gt_instances: As for ``loss_by_feat``.
            num_imgs: Number of images.

        Returns:
            All predictions, and the positives.

        Raises:
            RuntimeError: See ``task_modules.check_ground_truth``.
        """
        _, labels, boxes = flat_ground_truth(batch_gt_instances)
        check_ground_truth(labels, boxes, self.num_classes)
        priors = self._priors(outputs[0])
        return self._matching.match(outputs, priors, batch_gt_instances, num_imgs)

    def positives(self, matched: Matched) -> Positives:
        """What area weights may look at."""
        both = torch.stack([matched.boxes, matched.pred_boxes.detach()])
        areas, pred_areas = box_areas(both)
        return Positives(
            areas=areas,
            pred_areas=pred_areas,
            strides=matched.points[:, 2],
            level_strides=self.featmap_strides,
            image_area=matched.priors.input_area,
        )

    @property
    def _is_sparse(self) -> bool:
        return isinstance(getattr(self, "assigner", None), SparseTaskAlignedAssigner)

    @property
    def _matching(self) -> SparseMatching | DenseMatching:
        if self._is_sparse:
            return SparseMatching(self.assigner, self.bbox_coder, self.head_module.proj)
        return DenseMatching(self.assigner, self.bbox_coder)

    def _priors(self, cls_scores: Sequence[Tensor]) -> Priors:
        """The points of all levels, made anew when size, dtype or device change."""
        sizes = [tuple(score.shape[2:]) for score in cls_scores]
        dtype = torch.promote_types(cls_scores[0].dtype, torch.float32)
        key = (sizes, dtype, cls_scores[0].device)
        if key != self._priors_key:
            levels = self.prior_generator.grid_priors(
                sizes, dtype=dtype, device=cls_scores[0].device, with_stride=True
            )
            height, width = sizes[0]
            area = height * width * self.featmap_strides[0] ** 2
            self._cached_priors = Priors(
                torch.cat(levels),
                PriorGrid(levels, sizes),
                PriorPlaces([h * w for h, w in sizes], cls_scores[0].device),
                area,
            )
            self._priors_key = key
        return self._cached_priors

    def _condense(self, matched: Matched) -> Tensor | SparseLogits:
        """What the losses need of the logits, where assigner and loss are ours."""
        if not (self._is_sparse and isinstance(self.loss_cls, AreaAwareBCELoss)):
            return matched.logits.dense
        return SparseLogits.read(
            matched.logits,
            matched.targets,
            class_weights=self.loss_cls.class_weights,
            maxima=self.loss_bg is not None and self.loss_bg.needs_maxima,
        )

    def _loss_cls(
        self, matched: Matched, logits: Tensor | SparseLogits, weight: Tensor | None
    ) -> Tensor:
        """Sum of the classification loss, with weights of the priors (B, N)."""
        targets = matched.targets
        if isinstance(logits, Tensor):
            targets = targets.dense(*logits.shape)
        if isinstance(self.loss_cls, AreaAwareBCELoss):
            return self.loss_cls(logits, targets, weight, reduction_override="sum")
        loss = self.loss_cls(logits, targets)
        if weight is not None:
            if loss.shape[:2] != weight.shape:
                raise ValueError(
                    "ignored boxes have to be left out of the loss prior by prior, and "
                    f"{type(self.loss_cls).__name__} returns a loss of shape "
                    f"{tuple(loss.shape)}: give loss_cls.reduction='none', or "
                    "loss_cls.type='AreaAwareBCELoss'"
                )
            loss = loss * weight.view(*weight.shape, *[1] * (loss.dim() - 2))
        return loss.sum()

    def _loss_bg(
        self,
        matched: Matched,
        logits: Tensor | SparseLogits,
        ignored: Tensor | None,
        avg_factor: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The penalty, and what it reports; nothing is computed at λ_bg = 0."""
        if self.loss_bg.lambda_bg == 0:
            return avg_factor.new_zeros(()), {}
        return self.loss_bg(
            logits,
            matched.score_sums,
            ignored=ignored,
            avg_factor=avg_factor,
            return_stats=True,
        )

    def _loss_box(
        self, matched: Matched, weight: Tensor, avg_factor: Tensor
    ) -> tuple[Tensor, Tensor]:
        """IoU and distribution focal loss, with weights of the positives (P,)."""
        if self._is_sparse and are_yolov8s(self):
            return fused_box_losses(matched, weight, avg_factor, self)
        pred_boxes = self._matching.boxes_of_positives(matched)
        return box_losses(matched, pred_boxes, weight, avg_factor, self)
