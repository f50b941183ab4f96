from .area_aware_yolov8_head import AreaAwareYOLOv8Head

__all__ = ["AreaAwareYOLOv8Head"]
