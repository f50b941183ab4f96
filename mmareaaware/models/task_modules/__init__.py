from .prior_grid import PriorGrid
from .sparse_task_aligned_assigner import SparseTaskAlignedAssigner

__all__ = ["PriorGrid", "SparseTaskAlignedAssigner"]
