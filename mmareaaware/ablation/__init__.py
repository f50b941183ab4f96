"""Comparing settings over seeds: what ``tools/ablation.py`` is made of."""

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
    "write_report",
]
