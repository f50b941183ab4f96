"""YOLOv8 / YOLO11 head that tells the losses how large the objects are."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmyolo.models import YOLOv8Head, YOLOv8HeadModule
from mmyolo.models.utils import gt_instances_preprocess
from torch import Tensor

from ..box_areas import box_areas
from ..losses import (
    AreaAwareBCELoss,
    BgPenaltyLoss,
    SparseLogits,
    SparseTargets,
    share_of_total,
)
from ..precision import at_least_float32, exact_matmul
from ..task_modules import PriorGrid, SparseTaskAlignedAssigner


class Predictions(NamedTuple):
    """What the network said of every prior, float32 or wider."""

    logits: Tensor | SparseLogits  # (B, N, C)
    boxes: Tensor  # (B, N, 4), decoded, xyxy in px of the network input
    dists: Tensor  # (B, N, 4, reg_max)


class Priors(NamedTuple):
    """The points of all levels."""

    points: Tensor  # (N, 4): x, y, stride, stride
    strides: Tensor  # (N, 1)
    grid: PriorGrid
    input_area: int  # of the network input, in px²

    @property
    def centers(self) -> Tensor:
        return self.points[:, :2]


class Assignment(NamedTuple):
    """What the priors should have said, P of them something positive."""

    targets: Tensor | SparseTargets  # (B, N, C), or those of the positives
    score_sums: Tensor  # (B, N), soft targets summed over the classes
    image: Tensor  # (P,), image of each positive
    prior: Tensor  # (P,), prior of each positive
    boxes: Tensor  # (P, 4), box of each positive, xyxy in px


@MODELS.register_module()
class AreaAwareYOLOv8Head(YOLOv8Head):
    """``YOLOv8Head`` for size-aware classification losses and a background penalty.

    Serves YOLOv8 and YOLO11, which differ in the head module only. With stock losses
    and no penalty it gives the losses and gradients of ``YOLOv8Head``, bit for bit, in
    one process or without ``sync_avg_factor``. (In half precision it computes losses in
    float32, which stock does not.)

    With ``SparseTaskAlignedAssigner`` it spells out the positives only: no tensor of
    boxes × priors is made and, with an ``AreaAwareBCELoss``, none of dense targets;
    boxes too are computed in float32. Any other assigner works as in stock.

    Args:
        *args: As for ``YOLOv8Head``.
        loss_bg: Config of the background penalty, ``dict(type='BgPenaltyLoss')``; None
            for none.
        weigh_boxes: Whether the area weight of ``loss_cls`` weighs the box losses too.
        sync_avg_factor: Average the loss normalisers over the ranks, so that W ranks
            with b images each give the gradients of one process with W·b images.
        **kwargs: As for ``YOLOv8Head``. ``loss_cls`` may be an ``AreaAwareBCELoss``.

    Raises:
        ValueError: A per-class setting of ``loss_cls`` does not fit the class count,
            ``loss_bg`` is another loss, or boxes are to be weighed by an area weight
            that ``loss_cls`` has not.
    """

    def __init__(
        self,
        *args,
        loss_bg: dict | None = None,
        weigh_boxes: bool = False,
        sync_avg_factor: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.loss_cls, AreaAwareBCELoss):
            self.loss_cls.set_num_classes(self.num_classes)
        self.loss_bg = None if loss_bg is None else MODELS.build(loss_bg)
        if not isinstance(self.loss_bg, BgPenaltyLoss | None):
            raise ValueError(
                "loss_bg must be None or a dict(type='BgPenaltyLoss', ...), got "
                f"{loss_bg}"
            )
        if weigh_boxes and getattr(self.loss_cls, "area_weight", None) is None:
            raise ValueError(
                "weigh_boxes=True takes the area weight of loss_cls, which has none: "
                "give loss_cls=dict(type='AreaAwareBCELoss', area_weight=...), or "
                "weigh_boxes=False"
            )
        self.weigh_boxes = weigh_boxes
        self.sync_avg_factor = sync_avg_factor
        self._priors_key = None

    def forward(self, x: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """What the head module returns of the feature maps.

        In training with a sparse assigner the boxes are decoded without a gradient:
        the loss decodes the positives itself.
        """
        module = self.head_module
        if not (self.training and self._is_sparse and _is_plain(module)):
            return super().forward(x)
        cls_scores, bbox_preds, bbox_dist_preds = [], [], []
        for feature, cls_pred, reg_pred in zip(
            x, module.cls_preds, module.reg_preds, strict=True
        ):
            cls_scores.append(cls_pred(feature))
            dists = reg_pred(feature)
            size = dists.shape[-2:]
            dists = dists.unflatten(1, (4, module.reg_max)).flatten(3)
            with torch.no_grad():  # (B, 4, reg_max, H·W) -> (B, 4, H, W)
                probabilities = at_least_float32(dists).softmax(2)
                distances = exact_matmul(module.proj, probabilities)
            bbox_preds.append(distances.unflatten(2, size))
            bbox_dist_preds.append(dists.permute(0, 3, 1, 2))
        return cls_scores, bbox_preds, bbox_dist_preds

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
        outputs = cls_scores, bbox_preds, bbox_dist_preds
        preds, priors, assigned = self.match(outputs, batch_gt_instances, num_imgs)
        if self._is_sparse:
            condensed = self._condense(preds.logits, assigned.targets)
            preds = preds._replace(logits=condensed)
        total = assigned.targets.score if self._is_sparse else assigned.targets
        avg_factor = share_of_total(total.sum(), self.sync_avg_factor)

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
        total_imgs = num_imgs * get_world_size()
        losses = {k: v * total_imgs for k, v in losses.items()}
        num_pos = avg_factor.new_full((), len(assigned.image))
        return dict(**losses, **stats, num_pos=num_pos)

    def match(
        self,
        outputs: tuple[Sequence[Tensor], ...],
        batch_gt_instances: Tensor | Sequence,
        num_imgs: int,
    ) -> tuple[Predictions, Priors, Assignment]:
        """Which prior is to find which box.

        Args:
            outputs: What ``forward`` returned in training mode.
            batch_gt_instances: As for ``loss_by_feat``.
            num_imgs: Number of images.

        Returns:
            All predictions, all priors, and the targets.
        """
        priors = self._priors(outputs[0])
        preds = self._flatten(*outputs, priors)
        assign = self._assign_sparse if self._is_sparse else self._assign_dense
        return preds, priors, assign(preds, priors, batch_gt_instances, num_imgs)

    def geometry(
        self, preds: Predictions, priors: Priors, assigned: Assignment
    ) -> dict[str, Tensor | int | Sequence[int]]:
        """What area weights may ask of the P positives.

        Returns:
            ``areas``, ``pred_areas`` and ``strides`` (P,), ``image_area`` and
            ``level_strides``.
        """
        positives = assigned.image, assigned.prior
        return dict(
            areas=box_areas(assigned.boxes),
            pred_areas=box_areas(preds.boxes.detach()[positives]),
            strides=priors.strides[assigned.prior, 0],
            image_area=priors.input_area,
            level_strides=self.featmap_strides,
        )

    @property
    def _is_sparse(self) -> bool:
        return isinstance(getattr(self, "assigner", None), SparseTaskAlignedAssigner)

    def _priors(self, cls_scores: Sequence[Tensor]) -> Priors:
        """The points of all levels, made anew when size, dtype or device change."""
        sizes = [tuple(score.shape[2:]) for score in cls_scores]
        dtype = torch.promote_types(cls_scores[0].dtype, torch.float32)
        key = (sizes, dtype, cls_scores[0].device)
        if key != self._priors_key:
            levels = self.prior_generator.grid_priors(
                sizes, dtype=dtype, device=cls_scores[0].device, with_stride=True
            )
            points = torch.cat(levels)
            height, width = sizes[0]
            self._cached_priors = Priors(
                points,
                points[:, 2:3],
                PriorGrid(levels, sizes),
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
        """Join the levels and decode the boxes.

        For a sparse assigner the logits and distributions stay as the convolutions
        made them, channels before priors, and are only viewed as (B, N, ...); its few
        positives are decoded anew, so that no gradient passes through all boxes.
        """
        if self._is_sparse:
            logits = torch.cat([s.flatten(2) for s in cls_scores], 2).transpose(1, 2)
            dists = torch.cat([d.permute(0, 2, 3, 1) for d in bbox_dist_preds], 3)
            dists = dists.permute(0, 3, 1, 2)
            bbox_preds = [p.detach() for p in bbox_preds]
        else:
            logits = torch.cat([s.flatten(2).transpose(1, 2) for s in cls_scores], 1)
            dists = torch.cat(list(bbox_dist_preds), 1)
        distances = torch.cat([p.flatten(2).transpose(1, 2) for p in bbox_preds], 1)
        boxes = self.bbox_coder.decode(
            priors.centers, at_least_float32(distances), priors.strides[:, 0]
        )
        return Predictions(at_least_float32(logits), boxes, at_least_float32(dists))

    def _assign_dense(
        self,
        preds: Predictions,
        priors: Priors,
        batch_gt_instances: Tensor | Sequence,
        num_imgs: int,
    ) -> Assignment:
        """Match priors and boxes with an assigner of mmyolo."""
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
        targets = result["assigned_scores"]
        image, prior = result["fg_mask_pre_prior"].nonzero(as_tuple=True)
        boxes = result["assigned_bboxes"][image, prior]
        return Assignment(targets, targets.sum(-1), image, prior, boxes)

    def _assign_sparse(
        self,
        preds: Predictions,
        priors: Priors,
        batch_gt_instances: Tensor | Sequence,
        num_imgs: int,
    ) -> Assignment:
        """Match priors and boxes; only the positives are spelled out."""
        images, labels, boxes = _flat_ground_truth(batch_gt_instances)
        logits = preds.logits.detach()
        targets, box = self.assigner.assign(
            preds.boxes,
            lambda image, prior, label: logits[image, prior, label].sigmoid(),
            priors.grid,
            boxes,
            labels,
            images,
        )
        return Assignment(
            targets,
            targets.sums(num_imgs, len(priors.points)),
            targets.image,
            targets.prior,
            boxes[box],
        )

    def _condense(self, logits: Tensor, targets: SparseTargets) -> SparseLogits:
        is_ours = isinstance(self.loss_cls, AreaAwareBCELoss)
        return SparseLogits.read(
            logits,
            targets,
            class_weights=self.loss_cls.class_weights if is_ours else None,
            maxima=self.loss_bg is not None and self.loss_bg.needs_maxima,
        )

    def _loss_cls(
        self,
        preds: Predictions,
        assigned: Assignment,
        priors: Priors,
        avg_factor: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(self.loss_cls, AreaAwareBCELoss):
            logits, targets = preds.logits, assigned.targets
            if self._is_sparse:
                logits = logits.dense
                targets = targets.dense(*logits.shape)
            return self.loss_cls(logits, targets).sum() / avg_factor, {}
        geometry = self.geometry(preds, priors, assigned)
        if not self._is_sparse:  # every prior, not the positives only
            areas = geometry["areas"].new_zeros(assigned.score_sums.shape)
            positives = assigned.image, assigned.prior
            geometry.update(
                areas=areas.index_put(positives, geometry["areas"]),
                pred_areas=box_areas(preds.boxes.detach()),
                strides=priors.strides[:, 0],
            )
        return self.loss_cls(
            preds.logits,
            assigned.targets,
            avg_factor=avg_factor,
            reduction_override="mean",
            sync=self.sync_avg_factor,
            return_stats=True,
            **geometry,
        )

    def _loss_box(
        self,
        preds: Predictions,
        assigned: Assignment,
        priors: Priors,
        avg_factor: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """IoU and distribution focal loss of the P positives, in units of strides."""
        positives = assigned.image, assigned.prior
        strides = priors.strides[assigned.prior]  # (P, 1)
        centers = priors.centers[assigned.prior]  # (P, 2)
        target_boxes = assigned.boxes / strides  # (P, 4)
        weight = assigned.score_sums[positives]  # (P,)
        if self.weigh_boxes:
            geometry = self.geometry(preds, priors, assigned)
            weights, _ = self.loss_cls.weigh(
                weight, sync=self.sync_avg_factor, **geometry
            )
            weight = weight * weights
        dists = preds.dists[positives]  # (P, 4, reg_max)
        if self._is_sparse:
            distances = exact_matmul(dists.softmax(-1), self.head_module.proj)
            boxes = self.bbox_coder.decode(centers, distances[None], strides[:, 0])[0]
        else:
            boxes = preds.boxes[positives]
        loss_bbox = self.loss_bbox(boxes / strides, target_boxes, weight=weight)
        reg_max = self.head_module.reg_max
        target_distances = self.bbox_coder.encode(
            centers / strides, target_boxes, max_dis=reg_max - 1, eps=0.01
        )
        loss_dfl = self.loss_dfl(
            dists.reshape(-1, reg_max),
            target_distances.reshape(-1),
            weight=weight.repeat_interleave(4, output_size=4 * len(weight)),
            avg_factor=avg_factor,
        )
        return loss_bbox / avg_factor, loss_dfl


def _is_plain(module: YOLOv8HeadModule) -> bool:
    """Whether its convolutions may be called past its own forward and its hooks."""
    return (
        type(module).forward is YOLOv8HeadModule.forward
        and type(module).forward_single is YOLOv8HeadModule.forward_single
        and not module._forward_pre_hooks
        and not module._forward_hooks
    )


def _flat_ground_truth(
    batch_gt_instances: Tensor | Sequence,
) -> tuple[Tensor, Tensor, Tensor]:
    """Image (G,), class (G,) and box (G, 4) of all boxes of a batch."""
    if not isinstance(batch_gt_instances, Tensor):
        boxes = [get_box_tensor(gt.bboxes) for gt in batch_gt_instances]
        images = [torch.full_like(b[:, :1], i) for i, b in enumerate(boxes)]
        labels = [gt.labels.unsqueeze(1) for gt in batch_gt_instances]
        parts = [torch.cat(part) for part in (images, labels, boxes)]
        batch_gt_instances = torch.cat(parts, 1)
    images, labels, *_ = batch_gt_instances.long().unbind(1)
    return images, labels, batch_gt_instances[:, 2:]
