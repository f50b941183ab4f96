"""Comparing settings over seeds: what ``tools/ablation.py`` is made of."""

from .answer import Answer, Effect, find_answer
from .from_config import write_grid
from .grid import Grid, Metric
from .paired import Cell, Sample, compare
from .record import restore_runs
from .report import write_report
from .run import Run

__all__ = [
    "Answer",
    "Cell",
    "Effect",
    "Grid",
    "Metric",
    "Run",
    "Sample",
    "compare",
    "find_answer",
    "restore_runs",
    "write_grid",
    "write_report",
]
