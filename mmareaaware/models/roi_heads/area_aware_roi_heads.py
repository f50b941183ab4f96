"""mmdet's RoI heads, telling the box heads about the image and its pyramid.

Needed only for area weights that look beyond the box: ``BoxScaleWeight`` and
``PyramidMembershipWeight``.
"""

from dataclasses import replace
from functools import partial

from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.structures.bbox import bbox2roi
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..losses import Positives
from .area_aware_bbox_head import AreaAwareBBoxHeadMixin


class AreaAwareRoIHeadMixin:
    """Put it before a RoI head.

    Raises:
        ValueError: A box head is none of this package.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for head, _ in self._stages():
            if not isinstance(head, AreaAwareBBoxHeadMixin):
                raise ValueError(
                    f"{type(self).__name__} weighs nothing by itself: set "
                    "bbox_head.type='AreaAwareShared2FCBBoxHead', got "
                    f"{type(head).__name__!r}"
                )

    def loss(self, x, rpn_results_list, batch_data_samples) -> dict[str, Tensor]:
        """The losses of the stock head."""
        height, width = batch_data_samples[0].batch_input_shape
        try:
            for head, extractor in self._stages():
                head.describe_rois = partial(_describe, extractor, height * width)
            return super().loss(x, rpn_results_list, batch_data_samples)
        finally:
            for head, _ in self._stages():
                head.describe_rois = None

    def _stages(self) -> list[tuple[nn.Module, nn.Module]]:
        """Box head and RoI extractor of each stage."""
        if isinstance(self.bbox_head, nn.ModuleList):
            return list(zip(self.bbox_head, self.bbox_roi_extractor, strict=True))
        return [(self.bbox_head, self.bbox_roi_extractor)]


def _describe(
    extractor: SingleRoIExtractor, image_area: int, positives: Positives, rois: Tensor
) -> Positives:
    """The positives with image area and, where there is one, level of their RoIs."""
    if not hasattr(extractor, "map_roi_levels"):  # GRoIE's looks at all levels
        return replace(positives, image_area=image_area)
    level_strides = extractor.featmap_strides
    levels = extractor.map_roi_levels(bbox2roi([rois]), len(level_strides))
    return replace(
        positives,
        image_area=image_area,
        strides=rois.new_tensor(level_strides)[levels],
        level_strides=level_strides,
    )


@MODELS.register_module()
class AreaAwareStandardRoIHead(AreaAwareRoIHeadMixin, StandardRoIHead):
    """``StandardRoIHead`` (Faster and Mask R-CNN) for any area weight."""


@MODELS.register_module()
class AreaAwareCascadeRoIHead(AreaAwareRoIHeadMixin, CascadeRoIHead):
    """``CascadeRoIHead`` for any area weight."""
