"""Small objects count and background stays quiet, for MMDetection 3 and MMYOLO.

Importing the package registers everything with MMEngine:
``custom_imports = dict(imports=['mmareaaware'])``.
"""

from .compat import activate, has_mmyolo

active_compat = activate()

from . import datasets, engine, evaluation, models  # noqa: E402
from .preflight import check_all_runs  # noqa: E402
from .recipes import recipe  # noqa: E402
from .switching import switch_on  # noqa: E402
from .version import __version__  # noqa: E402

check_all_runs()
if not has_mmyolo():
    from .without_mmyolo import register_placeholders

    register_placeholders()

__all__ = [
    "__version__",
    "active_compat",
    "datasets",
    "engine",
    "evaluation",
    "models",
    "recipe",
    "switch_on",
]
