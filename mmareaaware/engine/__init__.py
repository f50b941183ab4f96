"""What runs beside a training: hooks."""

from .hooks import *  # noqa: F403
