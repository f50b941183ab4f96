"""The backbone of YOLO11."""

from .yolo11_csp_darknet import YOLO11CSPDarknet

__all__ = ["YOLO11CSPDarknet"]
