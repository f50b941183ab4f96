"""The blocks that YOLO11 is made of."""

from .yolo11_blocks import C2PSA, C3k, C3k2

__all__ = ["C2PSA", "C3k", "C3k2"]
