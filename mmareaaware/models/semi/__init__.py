"""Pseudo-labels: thresholds, box quality, and what becomes of a detection."""

from .box_quality import BoxQuality, DistributionSharpness
from .class_count_thresholds import ClassCountThresholds
from .f1_thresholds import F1Thresholds
from .pseudo_labeller import PseudoLabeller, PseudoLabels
from .thresholds import FixedThresholds, PseudoThresholds

__all__ = [
    "BoxQuality",
    "ClassCountThresholds",
    "DistributionSharpness",
    "F1Thresholds",
    "FixedThresholds",
    "PseudoLabeller",
    "PseudoLabels",
    "PseudoThresholds",
]
