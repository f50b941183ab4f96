from .semi_yolo_detector import SemiYOLODetector

__all__ = ["SemiYOLODetector"]
