"""Size-aware forms of the dense heads of MMYOLO and MMDetection."""

from ...compat import has_mmyolo
from .area_aware_anchor_heads import (
    AreaAwareAnchorHeadMixin,
    AreaAwareRetinaHead,
    AreaAwareRPNHead,
    AreaAwareSSDHead,
)
from .area_aware_dense_head import AreaAwareDenseHeadMixin
from .area_aware_matched_heads import (
    AreaAwareATSSHead,
    AreaAwareGFLHead,
    AreaAwareMatchedHeadMixin,
    AreaAwareMMDetRTMDetHead,
    AreaAwareRTMDetSepBNHead,
    AreaAwareTOODHead,
)
from .area_aware_point_heads import (
    AreaAwareFCOSHead,
    AreaAwareMMDetYOLOXHead,
    AreaAwarePointHeadMixin,
)
from .area_aware_query_heads import (
    AreaAwareDeformableDETRHead,
    AreaAwareDINOHead,
    AreaAwareQueryHeadMixin,
)
from .box_voting import BoxVoting
from .size_score_shift import SizeScoreShift

__all__ = [
    "AreaAwareATSSHead",
    "AreaAwareAnchorHeadMixin",
    "AreaAwareDINOHead",
    "AreaAwareDeformableDETRHead",
    "AreaAwareDenseHeadMixin",
    "AreaAwareFCOSHead",
    "AreaAwareGFLHead",
    "AreaAwareMMDetRTMDetHead",
    "AreaAwareMMDetYOLOXHead",
    "AreaAwareMatchedHeadMixin",
    "AreaAwarePointHeadMixin",
    "AreaAwareQueryHeadMixin",
    "AreaAwareRPNHead",
    "AreaAwareRTMDetSepBNHead",
    "AreaAwareRetinaHead",
    "AreaAwareSSDHead",
    "AreaAwareTOODHead",
    "BoxVoting",
    "SizeScoreShift",
]

if has_mmyolo():
    from .area_aware_quality_heads import (
        AreaAwarePPYOLOEHead,
        AreaAwareRTMDetHead,
        AreaAwareYOLOv6Head,
    )
    from .area_aware_yolov5_heads import AreaAwareYOLOv5Head, AreaAwareYOLOv7Head
    from .area_aware_yolov8_head import AreaAwareYOLOv8Head
    from .area_aware_yolox_head import AreaAwareYOLOXHead
    from .yolo11_head_module import YOLO11HeadModule

    __all__ += [
        "AreaAwarePPYOLOEHead",
        "AreaAwareRTMDetHead",
        "AreaAwareYOLOXHead",
        "AreaAwareYOLOv5Head",
        "AreaAwareYOLOv6Head",
        "AreaAwareYOLOv7Head",
        "AreaAwareYOLOv8Head",
        "YOLO11HeadModule",
    ]
