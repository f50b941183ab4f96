"""mmdet's anchor heads whose box targets are encoded."""

import torch
from mmdet.models.dense_heads import RetinaHead, RPNHead, SSDHead
from mmdet.models.task_modules import PseudoSampler
from mmengine.registry import MODELS
from torch import Tensor

from ..box_areas import box_areas
from .area_aware_dense_head import AreaAwareDenseHeadMixin


class AreaAwareAnchorHeadMixin(AreaAwareDenseHeadMixin):
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

    def get_targets(self, anchor_list: list[list[Tensor]], *args, **kwargs) -> tuple:
        """The targets of the stock head, the label weights of positives times φ."""
        labels, label_weights, *targets, areas = super().get_targets(
            anchor_list, *args, **kwargs
        )
        # With a sampler, mmdet divides by the number of samples
        sampled = None
        if not isinstance(self.sampler, PseudoSampler):
            sampled = [weights > 0 for weights in label_weights]
        label_weights = self.weigh_levels(
            labels, label_weights, areas, anchor_list[0], sampled
        )
        return labels, label_weights, *targets


@MODELS.register_module()
class AreaAwareRPNHead(AreaAwareAnchorHeadMixin, RPNHead):
    """``RPNHead`` in which the label weights of positives are weighted by area.

    Background of the penalty are the sampled negatives.
    """

    gives_detections = False

    def loss_by_feat(self, *args, **kwargs) -> dict:
        """As the stock head, and for the log ``rpn_num_pos`` and others.

        The RoI head has an ``area_weight_mean`` too.
        """
        losses = super().loss_by_feat(*args, **kwargs)
        return {k if "loss" in k else f"rpn_{k}": v for k, v in losses.items()}


@MODELS.register_module()
class AreaAwareRetinaHead(AreaAwareAnchorHeadMixin, RetinaHead):
    """``RetinaHead`` in which the label weights of positives are weighted by area."""


@MODELS.register_module()
class AreaAwareSSDHead(AreaAwareAnchorHeadMixin, SSDHead):
    """``SSDHead`` in which the loss of positives is weighted by area.

    Which negatives are hard, and how many are taken, stays as it is. The penalty looks
    at all background, the easy too, and at 1 − p(background).
    """

    loss_cls = None  # The stock head has none, and mmdet 3.3 asks for it to predict
