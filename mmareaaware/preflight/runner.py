"""Has every run of MMEngine checked, whatever its config and whatever starts it.

And logged without the numbers of an earlier one that it resumes.

Our modules cannot check themselves: they do not know the head they sit in, and some
stock heads (TOOD, RTMDet, DINO) never call their ``init_weights``. A config may name no
hook of ours, and ``train.py`` may be anybody's. So the methods of MMEngine that build a
model and register hooks are wrapped when the package is imported: those of ``Runner``,
and of ``FlexibleRunner`` with its strategies. The hook is listed in the log as any
other.
"""

from collections.abc import Mapping
from functools import wraps

from mmengine._strategy import BaseStrategy
from mmengine.runner import FlexibleRunner, Runner

from ..engine.hooks import StaleScalarsHook
from .config import config_findings
from .finding import settle
from .hook import PreflightHook

CHECKED = "_checked_by_mmareaaware"


def check_all_runs() -> None:
    """Wrap MMEngine's runners, once."""
    if hasattr(Runner, CHECKED):
        return
    setattr(Runner, CHECKED, True)
    for builder in (Runner, BaseStrategy):
        builder.build_model = _checks_config(builder.build_model)
    for runner in (Runner, FlexibleRunner):
        runner.register_hooks = _adds_hook(runner.register_hooks)


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
