"""What is seen before the first iteration: would this train on something else?"""

from .data import data_findings
from .finding import Finding, settle
from .model import config_findings, model_findings
from .runner import check_all_runs

__all__ = [
    "Finding",
    "check_all_runs",
    "config_findings",
    "data_findings",
    "model_findings",
    "settle",
]
