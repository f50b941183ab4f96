"""Losses, heads, assigner, YOLO11 and the semi-supervised detector."""

from ..compat import has_mmyolo
from .dense_heads import *  # noqa: F403
from .losses import *  # noqa: F403
from .roi_heads import *  # noqa: F403
from .task_modules import *  # noqa: F403

if has_mmyolo():
    from .backbones import *  # noqa: F403
    from .data_preprocessors import *  # noqa: F403
    from .detectors import *  # noqa: F403
    from .necks import *  # noqa: F403
    from .semi import *  # noqa: F403
