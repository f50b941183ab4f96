"""Looks at the model and its data when a training is about to begin."""

from itertools import chain

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop

from .data import data_findings
from .finding import settle
from .model import model_findings
from .semi import semi_findings


class PreflightHook(Hook):
    """Stops a training that would train on something else than its config says.

    It comes with importing the package, see ``runner``, and costs an iteration
    nothing.

    Raises:
        ValueError: Before training, with a line for each finding: place, value and fix.
    """

    priority = "HIGHEST"  # before anything is counted or initialised

    def before_run(self, runner) -> None:
        """Check, when this run is a training: then its loop is built."""
        if not isinstance(runner._train_loop, BaseLoop):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        val_set = None
        if isinstance(runner._val_loop, BaseLoop):
            val_set = runner.val_dataloader.dataset
        settle(
            chain(
                model_findings(model),
                data_findings(runner.train_dataloader.dataset, val_set, model),
                semi_findings(runner),
            ),
            runner.logger,
        )
