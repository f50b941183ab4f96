"""When the unlabelled images begin to count: the phases of a semi-supervised run."""

from enum import IntEnum
from typing import Any, NamedTuple

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from .loss_param_scheduler_hook import LossParamSchedulerHook

PARAM = "lambda_u"


class Phase(IntEnum):
    """By the weight of the unsupervised loss; the numbers are those in the log."""

    BURN_IN = 0  # it is 0
    WARM_UP = 1  # it is on its way
    FULL = 2


class SemiPhases(NamedTuple):
    """What a run's schedule of ``lambda_u`` says of every iteration.

    Computed from the iteration alone, so a resumed run agrees with itself.
    """

    scheduler: LossParamSchedulerHook | None
    constant: float  # the weight, where nothing schedules it
    iters_per_epoch: int
    max_iters: int

    @classmethod
    def of(cls, runner: Runner) -> "SemiPhases":
        """Those of a run whose loops are built.

        Raises:
            ValueError: The model is not semi-supervised.
        """
        model = unwrap(runner.model)
        if not hasattr(model, PARAM):
            raise ValueError(
                "the hooks for semi-supervised training need "
                f"model.type='SemiYOLODetector', got {type(model).__name__!r}: take "
                "them out of custom_hooks"
            )
        hooks = runner.hooks
        schedulers = [h for h in hooks if isinstance(h, LossParamSchedulerHook)]
        scheduler = next((h for h in schedulers if h.param == PARAM), None)
        if scheduler is not None:
            scheduler.find(model)
        weight = getattr(model, PARAM)
        # There are no epochs in a run whose scheduler counts iterations
        per_epoch = 1
        if scheduler is not None and scheduler.by_epoch:
            per_epoch = len(runner.train_dataloader)
        return cls(scheduler, weight, per_epoch, runner.max_iters)

    def weight_at(self, iteration: int) -> float:
        """The weight of the unsupervised loss in an iteration."""
        if self.scheduler is None:
            return self.constant
        return self.scheduler.value_at(iteration // self.iters_per_epoch)

    def phase_at(self, iteration: int) -> Phase:
        """The phase that an iteration is in."""
        weight = self.weight_at(iteration)
        if weight == 0:
            return Phase.BURN_IN
        full = self.constant if self.scheduler is None else self.scheduler.max_value
        return Phase.FULL if weight == full else Phase.WARM_UP

    @property
    def first_iter(self) -> int:
        """The first iteration after the burn-in; ``max_iters`` where there is none."""
        steps = range(0, self.max_iters, self.iters_per_epoch)
        return next((i for i in steps if self.weight_at(i) > 0), self.max_iters)


def unwrap(model: nn.Module) -> Any:
    """The model without what distributes it."""
    return model.module if is_model_wrapper(model) else model
