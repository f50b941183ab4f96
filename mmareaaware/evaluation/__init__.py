"""Metrics: accuracy by size, false positives by their kind, calibration of scores."""

from .background_fp_metric import BackgroundFPMetric
from .calibration_metric import CalibrationMetric
from .matching import IGNORED, KINDS, TRUE_POSITIVE, match, read_sample
from .size_binned_coco_metric import SizeBinnedCocoMetric

__all__ = [
    "IGNORED",
    "KINDS",
    "TRUE_POSITIVE",
    "BackgroundFPMetric",
    "CalibrationMetric",
    "SizeBinnedCocoMetric",
    "match",
    "read_sample",
]
