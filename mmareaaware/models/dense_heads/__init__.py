from .area_aware_yolov8_head import AreaAwareYOLOv8Head
from .yolo11_head_module import YOLO11HeadModule

__all__ = ["AreaAwareYOLOv8Head", "YOLO11HeadModule"]
