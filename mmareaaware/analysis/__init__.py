"""How large the boxes of a training set are for the network, before training."""

from .area_report import AreaReport, Weighting, area_report, count_priors
from .suggestions import Suggestion, suggest
from .summary import summarise
from .training_set import (
    TrainingBoxes,
    TrainingSetError,
    boxes_and_labels,
    build_training_set,
    default_scope,
    open_config,
    read_training_boxes,
    what_is_not_seen,
)

__all__ = [
    "AreaReport",
    "Suggestion",
    "TrainingBoxes",
    "TrainingSetError",
    "Weighting",
    "area_report",
    "boxes_and_labels",
    "build_training_set",
    "count_priors",
    "default_scope",
    "open_config",
    "read_training_boxes",
    "suggest",
    "summarise",
    "what_is_not_seen",
]
