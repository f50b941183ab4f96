from .class_counts_hook import ClassCountsHook, count_classes
from .epoch_seed_hook import EpochSeedHook
from .loss_param_scheduler_hook import LossParamSchedulerHook

__all__ = [
    "ClassCountsHook",
    "EpochSeedHook",
    "LossParamSchedulerHook",
    "count_classes",
]
