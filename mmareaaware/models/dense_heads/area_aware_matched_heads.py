"""mmdet's heads whose box targets are the matched boxes themselves."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import (
    ATSSHead,
    GFLHead,
    RTMDetHead,
    RTMDetSepBNHead,
    TOODHead,
)
from mmengine.registry import MODELS
from torch import Tensor

from ..box_areas import box_areas
from .area_aware_dense_head import AreaAwareDenseHeadMixin


class AreaAwareMatchedHeadMixin(AreaAwareDenseHeadMixin):
    """Put it before a head with targets as ``ATSSHead`` has them.

    They begin with priors, labels, label weights and matched boxes of each level.

    Attributes:
        is_divided_by_quality: Whether the classification loss is divided by the sum of
            what comes fifth among the targets, instead of by the number of positives.
    """

    is_divided_by_quality = False

    def get_targets(self, *args, **kwargs) -> tuple:
        """The targets of the stock head, the label weights of positives times φ."""
        return self.weigh_targets(super().get_targets(*args, **kwargs))

    def weigh_targets(self, targets: tuple) -> tuple:
        """The same targets, with φ in the label weights."""
        priors, labels, label_weights, bbox_targets, *rest = targets
        label_weights = self.weigh_levels(
            labels,
            label_weights,
            [box_areas(boxes).float() for boxes in bbox_targets],
            priors,
            rest[0] if self.is_divided_by_quality else None,
        )
        return priors, labels, label_weights, bbox_targets, *rest


@MODELS.register_module()
class AreaAwareATSSHead(AreaAwareMatchedHeadMixin, ATSSHead):
    """``ATSSHead`` in which the label weights of positives are weighted by area."""


@MODELS.register_module()
class AreaAwareGFLHead(AreaAwareMatchedHeadMixin, GFLHead):
    """``GFLHead`` in which the quality focal loss of positives is weighted by area."""

    def decode_positives(
        self, preds: Tensor, priors: Tensor, strides: Tensor
    ) -> Tensor:
        """The boxes (P, 4) in px, from distributions of distances in strides."""
        distances = self.integral(preds) * strides
        return self.bbox_coder.decode(self.anchor_center(priors), distances)


@MODELS.register_module()
class AreaAwareTOODHead(AreaAwareMatchedHeadMixin, TOODHead):
    """``TOODHead`` in which the classification of positives is weighted by area.

    In the first epochs and later. Background inside ignored boxes is left out.
    """

    is_divided_by_quality = True
    leaves_out_ignored = True

    def decode_positives(
        self, preds: Tensor, priors: Tensor, strides: Tensor
    ) -> Tensor:
        """The boxes (P, 4) in px; the network has them in strides."""
        return preds * strides

    def points_of(self, priors: Tensor) -> Tensor:
        """The centres (N_l, 2) of the anchors, which all images share."""
        return self.anchor_center(priors[0])

    def score_logits(
        self, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor]
    ) -> Tensor:
        """Logits of the class scores, which come as probabilities, (B, N, ·)."""
        eps = torch.finfo(cls_scores[0].dtype).eps
        logits = [torch.logit(level, eps) for level in cls_scores]
        return super().score_logits(logits, bbox_preds)


class _RTMDetMixin(AreaAwareMatchedHeadMixin):
    is_divided_by_quality = True
    leaves_out_ignored = True

    def decode_positives(
        self, preds: Tensor, priors: Tensor, strides: Tensor
    ) -> Tensor:
        """The boxes (P, 4) in px; the priors are points with their strides."""
        return self.bbox_coder.decode(priors[:, :2], preds)

    def points_of(self, priors: Tensor) -> Tensor:
        """The points (N_l, 2), which all images share."""
        return priors[0, :, :2]


@MODELS.register_module()
class AreaAwareMMDetRTMDetHead(_RTMDetMixin, RTMDetHead):
    """mmdet's ``RTMDetHead`` with the quality focal loss of positives by area.

    Background inside ignored boxes is left out.
    """


@MODELS.register_module()
class AreaAwareRTMDetSepBNHead(_RTMDetMixin, RTMDetSepBNHead):
    """mmdet's ``RTMDetSepBNHead`` with the quality focal loss of positives by area.

    Background inside ignored boxes is left out.
    """
