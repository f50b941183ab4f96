"""What is seen before the first iteration: would this train on something else?"""

from .config import config_findings
from .data import data_findings
from .finding import Finding, settle
from .model import model_findings
from .runner import check_all_runs

__all__ = [
    "Finding",
    "check_all_runs",
    "config_findings",
    "data_findings",
    "model_findings",
    "settle",
]
