"""Switches the parts of this package on, in the config of any known detector."""

from .changes import Change, changes_table
from .rising import RISING_LAMBDA_BG
from .switch import SwitchError, switch_on

__all__ = [
    "RISING_LAMBDA_BG",
    "Change",
    "SwitchError",
    "changes_table",
    "switch_on",
]
