"""Looks at the model, its data and its checkpoint when a run is about to begin."""

from itertools import chain

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.model.test_time_aug import BaseTTAModel
from mmengine.runner import BaseLoop
from torch import nn

from .checkpoint import checkpoint_findings
from .data import data_findings
from .finding import settle
from .ignored import ignored_findings
from .model import model_findings
from .semi import semi_findings


class PreflightHook(Hook):
    """Stops a training that would train on something else than its config says.

    And a test of a network that the checkpoint does not fit. It comes with importing
    the package, see ``runner``, and costs an iteration nothing.

    Raises:
        ValueError: Before the run, with a line for each finding: place, value and fix.
    """

    priority = "HIGHEST"  # before anything is counted or initialised

    def before_run(self, runner) -> None:
        """Check, when this run is a training: then its loop is built."""
        if not _is_training(runner):
            return
        model = _unwrapped(runner.model)
        val_set = None
        if isinstance(runner._val_loop, BaseLoop):
            val_set = runner.val_dataloader.dataset
        settle(
            chain(
                model_findings(model),
                data_findings(runner.train_dataloader.dataset, val_set, model),
                semi_findings(runner),
                ignored_findings(runner),
            ),
            runner.logger,
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check, before the weights are put into the model."""
        settle(
            checkpoint_findings(
                _unwrapped(runner.model),
                checkpoint.get("state_dict", checkpoint),
                is_start=_is_training(runner) and not runner._resume,
            ),
            runner.logger,
        )


def _is_training(runner) -> bool:
    """Then its loop is built."""
    return isinstance(runner._train_loop, BaseLoop)


def _unwrapped(model: nn.Module) -> nn.Module:
    """Without what distributes it or tests it on several versions of an image."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
