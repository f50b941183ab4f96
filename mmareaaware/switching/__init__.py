"""Switches the parts of this package on, in the config of any known detector."""

from .changes import Change, changes_table
from .command_line import add_switches, add_test_switches, apply_switches
from .errors import SwitchError
from .rising import RISING_LAMBDA_BG
from .switch import switch_on, with_package

__all__ = [
    "RISING_LAMBDA_BG",
    "Change",
    "SwitchError",
    "add_switches",
    "add_test_switches",
    "apply_switches",
    "changes_table",
    "switch_on",
    "with_package",
]
