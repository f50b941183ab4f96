"""mmdet's RoI box head with positives weighted by the area of their box."""

from collections.abc import Callable, Sequence

import torch
from mmdet.models.roi_heads import Shared2FCBBoxHead
from mmdet.models.task_modules import SamplingResult
from mmdet.structures.bbox import cat_boxes
from mmengine.registry import MODELS
from torch import Tensor

from ..box_areas import box_areas
from ..label_weighting import LabelWeighting
from ..losses import Positives


class AreaAwareBBoxHeadMixin(LabelWeighting):
    """Put it before a ``BBoxHead``.

    Attributes:
        describe_rois: Set by the RoI head for the time of a loss: adds to the positives
            what the RoI head knows of their RoIs (P, 4).
    """

    describe_rois: Callable[[Positives, Tensor], Positives] | None = None
    _bbox_pred: Tensor | None = None

    def loss_and_target(
        self, cls_score: Tensor, bbox_pred: Tensor, *args, **kwargs
    ) -> dict:
        """As the stock head, and ``area_weight_mean`` among the losses, for the log."""
        self._bbox_pred = bbox_pred
        try:
            result = super().loss_and_target(cls_score, bbox_pred, *args, **kwargs)
        finally:
            self._bbox_pred = None
        result["loss_bbox"].update(self.pop_area_weight_mean())
        return result

    def get_targets(
        self,
        sampling_results: list[SamplingResult],
        rcnn_train_cfg: dict,
        concat: bool = True,
    ) -> tuple:
        """The targets of the stock head, the label weights of positives times φ."""
        labels, label_weights, *box_targets = super().get_targets(
            sampling_results, rcnn_train_cfg, concat=concat
        )
        if self.area_weight is not None:
            if concat:
                label_weights = self._weigh(labels, label_weights, sampling_results)
            else:
                joint = torch.cat(labels), torch.cat(label_weights)
                sizes = [len(part) for part in labels]
                label_weights = self._weigh(*joint, sampling_results).split(sizes)
        return labels, label_weights, *box_targets

    def _weigh(
        self,
        labels: Tensor,
        label_weights: Tensor,
        sampling_results: Sequence[SamplingResult],
    ) -> Tensor:
        """Label weights (N,) of the samples of all images."""
        # The positives of an image come first among its samples, in this order.
        rows = ((labels >= 0) & (labels < self.num_classes)).nonzero().squeeze(1)
        matched = cat_boxes([result.pos_gt_bboxes for result in sampling_results])
        rois = cat_boxes([result.pos_priors for result in sampling_results])
        positives = Positives(
            areas=box_areas(matched).float(),
            pred_areas=self._predicted_areas(rois, rows, labels[rows]),
        )
        if self.describe_rois is not None:
            positives = self.describe_rois(positives, rois)
        weights = self.weigh_labels(label_weights[rows], positives)
        return label_weights.index_put((rows,), weights)

    @torch.no_grad()
    def _predicted_areas(
        self, rois: Tensor, rows: Tensor, labels: Tensor
    ) -> Tensor | None:
        """Areas (P,) of the decoded predictions, those for the class of the label.

        None outside of a loss, where there are no predictions.
        """
        if self._bbox_pred is None:
            return None
        size = self.bbox_coder.encode_size
        preds = self._bbox_pred[rows].unflatten(1, (-1, size))  # (P, C or 1, 4)
        column = torch.zeros_like(labels) if self.reg_class_agnostic else labels
        deltas = preds[torch.arange(len(rows), device=rows.device), column]
        return box_areas(self.bbox_coder.decode(rois, deltas)).float()


@MODELS.register_module()
class AreaAwareShared2FCBBoxHead(AreaAwareBBoxHeadMixin, Shared2FCBBoxHead):
    """``Shared2FCBBoxHead`` in which the label weights of positives go by area."""
