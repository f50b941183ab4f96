"""What runs beside a training: hooks, and the precision of its forward passes."""

from .bfloat16_optim_wrapper import BFloat16OptimWrapper  # noqa: F401
from .hooks import *  # noqa: F403
