"""Comparing settings over seeds: what ``tools/ablation.py`` is made of."""

from .environment import environment
from .grid import Grid, Metric
from .paired import Cell, Sample, compare
from .report import write_report
from .run import Run

__all__ = [
    "Cell",
    "Grid",
    "Metric",
    "Run",
    "Sample",
    "compare",
    "environment",
    "write_report",
]
