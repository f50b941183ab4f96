"""Has every run of MMEngine checked, whatever its config and whatever starts it.

And logged without the numbers of an earlier one that it resumes.

Our modules cannot check themselves: they do not know the head they sit in, and some
stock heads (TOOD, RTMDet, DINO) never call their ``init_weights``. A config may name no
hook of ours, and ``train.py`` may be anybody's. So the two methods of MMEngine's
``Runner`` that build a model and register hooks are wrapped when the package is
imported. The hook is listed in the log as any other.
"""

from collections.abc import Mapping
from functools import wraps

from mmengine.runner import Runner

from ..engine.hooks import StaleScalarsHook
from .finding import settle
from .hook import PreflightHook
from .model import config_findings


def check_all_runs() -> None:
    """Wrap MMEngine's ``Runner``, once."""
    if not hasattr(Runner.register_hooks, "__wrapped__"):
        Runner.build_model = _checks_config(Runner.build_model)
        Runner.register_hooks = _adds_hook(Runner.register_hooks)


def _checks_config(build_model):
    @wraps(build_model)
    def wrapped(self, model):
        if isinstance(model, Mapping):
            settle(config_findings(model))
        return build_model(self, model)

    return wrapped


def _adds_hook(register_hooks):
    @wraps(register_hooks)
    def wrapped(self, *args, **kwargs):
        register_hooks(self, *args, **kwargs)
        self.register_hook(PreflightHook())
        self.register_hook(StaleScalarsHook())

    return wrapped
