"""The assigner for crowds, and the check of what it is given."""

from .ground_truth import MAX_COORDINATE, check_ground_truth
from .prior_grid import PriorGrid
from .sparse_task_aligned_assigner import SparseTaskAlignedAssigner

__all__ = [
    "MAX_COORDINATE",
    "PriorGrid",
    "SparseTaskAlignedAssigner",
    "check_ground_truth",
]
