from .environment import environment
from .grid import Grid, Metric, Run, plan
from .report import write_report

__all__ = ["Grid", "Metric", "Run", "environment", "plan", "write_report"]
