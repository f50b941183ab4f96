"""The detector that learns from labelled and unlabelled images."""

from .semi_yolo_detector import SemiYOLODetector

__all__ = ["SemiYOLODetector"]
