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
    from .area_aware_yolov8_head import AreaAwareYOLOv8Head
    from .yolo11_head_module import YOLO11HeadModule

    __all__ += ["AreaAwareYOLOv8Head", "YOLO11HeadModule"]
