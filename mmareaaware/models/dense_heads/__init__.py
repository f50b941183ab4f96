from ...compat import has_mmyolo
from .area_aware_anchor_heads import (
    AreaAwareAnchorHeadMixin,
    AreaAwareATSSHead,
    AreaAwareRetinaHead,
    AreaAwareRPNHead,
)

__all__ = [
    "AreaAwareATSSHead",
    "AreaAwareAnchorHeadMixin",
    "AreaAwareRPNHead",
    "AreaAwareRetinaHead",
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
