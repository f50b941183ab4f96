"""Size-aware RoI heads and box heads."""

from .area_aware_bbox_head import AreaAwareBBoxHeadMixin, AreaAwareShared2FCBBoxHead
from .area_aware_roi_heads import (
    AreaAwareCascadeRoIHead,
    AreaAwareRoIHeadMixin,
    AreaAwareStandardRoIHead,
)

__all__ = [
    "AreaAwareBBoxHeadMixin",
    "AreaAwareCascadeRoIHead",
    "AreaAwareRoIHeadMixin",
    "AreaAwareShared2FCBBoxHead",
    "AreaAwareStandardRoIHead",
]
