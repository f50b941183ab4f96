"""Hooks: schedules of losses, monitors, the teacher of a semi-supervised run."""

from .class_counts_hook import ClassCountsHook, count_classes
from .detection_monitor_hook import DetectionMonitorHook
from .epoch_seed_hook import EpochSeedHook
from .loss_param_scheduler_hook import LossParamSchedulerHook
from .pseudo_label_monitor_hook import PseudoLabelMonitorHook
from .pseudo_label_picture_hook import PseudoLabelPictureHook
from .semi_mean_teacher_hook import SemiMeanTeacherHook
from .semi_phase_hook import SemiPhaseHook
from .stale_scalars_hook import StaleScalarsHook

__all__ = [
    "ClassCountsHook",
    "DetectionMonitorHook",
    "EpochSeedHook",
    "LossParamSchedulerHook",
    "PseudoLabelMonitorHook",
    "PseudoLabelPictureHook",
    "SemiMeanTeacherHook",
    "SemiPhaseHook",
    "StaleScalarsHook",
    "count_classes",
]
