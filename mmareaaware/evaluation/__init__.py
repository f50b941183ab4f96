"""Metrics: accuracy by the size of objects, false positives by their kind."""

from .background_fp_metric import BackgroundFPMetric
from .matching import IGNORED, KINDS, TRUE_POSITIVE, match, read_sample
from .size_binned_coco_metric import SizeBinnedCocoMetric

__all__ = [
    "IGNORED",
    "KINDS",
    "TRUE_POSITIVE",
    "BackgroundFPMetric",
    "SizeBinnedCocoMetric",
    "match",
    "read_sample",
]
