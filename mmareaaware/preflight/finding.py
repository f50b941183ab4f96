"""Something that is wrong with a training, before it begins."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from mmengine.logging import MMLogger, print_log


class Finding(NamedTuple):
    """What is wrong, where, and what to do about it."""

    place: str  # a dotted path in the config
    message: str  # names the value and the fix
    is_error: bool = True

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def type_is(place: str, name: str) -> str:
    """How a message says that the type at a place in the config is to be set."""
    return f"{place}.type={name!r}"


def settle(
    findings: Iterable[Finding], logger: MMLogger | str | None = "current"
) -> None:
    """Log the warnings, and raise the errors, all at once.

    Args:
        findings: Of one or several checks.
        logger: As for MMEngine's ``print_log``.

    Raises:
        ValueError: A finding is an error.
    """
    findings = list(findings)
    for finding in findings:
        if not finding.is_error:
            print_log(str(finding), logger, logging.WARNING)
    errors = [str(finding) for finding in findings if finding.is_error]
    if errors:
        raise ValueError("\n".join(errors))
