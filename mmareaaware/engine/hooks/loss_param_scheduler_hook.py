"""Schedules any number of a loss over training."""

import logging
import math
from numbers import Real

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from ...model_config import default_of

# Schedule name -> share of the maximum at progress x >= 0 of the warm-up (1: its end).
SCHEDULES = {
    "constant": lambda x, step_ratio: 1.0,
    "linear": lambda x, step_ratio: min(1.0, x),
    "cosine": lambda x, step_ratio: (1 - math.cos(math.pi * min(1.0, x))) / 2,
    "step": lambda x, step_ratio: step_ratio if x < 1 else 1.0,
}


@HOOKS.register_module()
class LossParamSchedulerHook(Hook):
    """Sets a number of the model before every iteration, and logs it.

    With e the 0-based epoch (or iteration) and x = (e − burn_in) / warmup, the value is
    0 while e < burn_in, then

    - ``'constant'``: max_value
    - ``'linear'``: max_value · min(1, x)
    - ``'cosine'``: max_value · (1 − cos(π · min(1, x))) / 2
    - ``'step'``: max_value · step_ratio while x < 1, then max_value

    The hook keeps no state: a resumed run goes on with the right value. The value of
    the iteration, no mean, is logged under the last part of ``param``, for example as
    ``lambda_bg``, or under all of it where two hooks would log under one name.

    Args:
        param: Dotted path of the number, from the unwrapped model.
        schedule: One of the names above.
        max_value: The value at the end of the warm-up; None for the one that the model
            is built with.
        burn_in: Epochs (iterations) at 0 before it starts.
        warmup: Epochs (iterations) from there to the full value.
        step_ratio: Share of ``max_value`` that ``'step'`` begins with.
        by_epoch: Count epochs; otherwise iterations.

    Raises:
        ValueError: The schedule is unknown, or a number is negative. Before the first
            iteration, when the model has no such number, does not accept ``max_value``
            or was given another one, when another hook sets it too, or when the loop
            has no epochs to count.

    Example:
        >>> custom_hooks = [
        ...     dict(type='LossParamSchedulerHook', schedule='linear', burn_in=3,
        ...          warmup=10)]
    """

    def __init__(
        self,
        param: str = "bbox_head.loss_bg.lambda_bg",
        schedule: str = "linear",
        max_value: float | None = None,
        burn_in: int = 0,
        warmup: int = 0,
        step_ratio: float = 0.5,
        by_epoch: bool = True,
    ) -> None:
        if schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {tuple(SCHEDULES)}, got {schedule!r}"
            )
        numbers = dict(
            max_value=max_value, burn_in=burn_in, warmup=warmup, step_ratio=step_ratio
        )
        for name, value in numbers.items():
            if value is not None and not value >= 0:  # nan is not
                raise ValueError(f"{name} must not be negative, got {value}")
        self.param = param
        self.schedule = schedule
        self.max_value = max_value
        self.burn_in = burn_in
        self.warmup = warmup
        self.step_ratio = step_ratio
        self.by_epoch = by_epoch
        self._owner: object | None = None

    def find(self, model) -> None:
        """Find the number, and what it is to become where nothing says so.

        Args:
            model: As the Runner has it. Another one later changes nothing.

        Raises:
            ValueError: There is no such number, or it was given another value.
        """
        if self._owner is not None:
            return
        owner, name = _resolve(model, self.param)
        if name == "strength" and getattr(owner, "area_weight", owner) is None:
            raise ValueError(
                f"{self.param} fades an area weight, and area_weight of "
                f"{type(owner).__name__} is None: give one, or take this "
                "LossParamSchedulerHook out of custom_hooks"
            )
        built = getattr(owner, name)
        if self.max_value is None:
            self.max_value = built
        elif built not in (self.max_value, default_of(type(owner), name)):
            raise ValueError(
                f"{self.param} is {built} in the config of the model, and its "
                f"LossParamSchedulerHook would make it max_value={self.max_value}: "
                "leave max_value out of the hook"
            )
        self._owner, self._name = owner, name

    def value_at(self, step: int) -> float:
        """The value in epoch (or iteration) ``step``, counted from 0; after ``find``.

        Args:
            step: The epoch or the iteration.
        """
        if step < self.burn_in:
            return 0.0
        progress = (step - self.burn_in) / self.warmup if self.warmup else math.inf
        return self.max_value * SCHEDULES[self.schedule](progress, self.step_ratio)

    def before_train(self, runner) -> None:
        """See that the model has the number, and accepts the largest value."""
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                "by_epoch=True counts epochs and IterBasedTrainLoop has none: "
                f"set by_epoch=False and give burn_in={self.burn_in} and "
                f"warmup={self.warmup} in iterations"
            )
        self.find(runner.model)
        setattr(self._owner, self._name, self.max_value)
        last = (runner.max_epochs if self.by_epoch else runner.max_iters) - 1
        if self.value_at(last) == 0:
            unit = "epoch" if self.by_epoch else "iteration"
            why = f"burn_in={self.burn_in}, and the last {unit} is {last}"
            if not self.max_value:
                why = "it would rise to 0, which is what the model was given"
            print_log(
                f"{self.param} stays 0 to the end of this run: {why}",
                runner.logger,
                logging.WARNING,
            )
        rivals = [h for h in runner.hooks if isinstance(h, LossParamSchedulerHook)]
        same = [h.param for h in rivals if self._sets_the_same(h, runner.model)]
        if len(same) > 1:
            raise ValueError(
                f"two LossParamSchedulerHooks set {' and '.join(dict.fromkeys(same))}, "
                "one number, and it can have one value only: leave one of them in "
                "custom_hooks (a recipe that inherits `*_base_.custom_hooks` has that "
                "of its base already: change that one)"
            )
        names = [h.param.rpartition(".")[2] for h in rivals]
        self._log_name = self._name if names.count(self._name) == 1 else self.param
        # By itself LogProcessor logs the mean over some iterations of what has "loss"
        # or "time" in its name. An entry of the config comes later, and counts.
        as_it_is = dict(data_src=self._log_name, method_name="current")
        processor = runner.log_processor
        processor.custom_cfg = [as_it_is, *processor.custom_cfg]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Set the value for this iteration."""
        value = self.value_at(runner.epoch if self.by_epoch else runner.iter)
        setattr(self._owner, self._name, value)
        runner.message_hub.update_scalar(f"train/{self._log_name}", value)

    def _sets_the_same(self, other: "LossParamSchedulerHook", model) -> bool:
        """Whether another hook sets the number of this one, on whatever path."""
        owner, name = _resolve(model, other.param)
        # λ_bg is kept in _lambda_bg
        return owner is self._owner and name.lstrip("_") == self._name.lstrip("_")


def _resolve(model, path: str) -> tuple[object, str]:
    """The object that owns the number at a dotted path, and the number's name."""
    owner = model.module if is_model_wrapper(model) else model
    *parents, name = path.split(".")
    for i, part in enumerate([*parents, name]):
        value = getattr(owner, part, None)
        is_last = i == len(parents)
        if value is None or (is_last and not isinstance(value, Real)):
            where = ".".join(["model", *parents[:i]])
            numbers = [
                k.lstrip("_") for k, v in vars(owner).items() if isinstance(v, float)
            ]
            children = [k for k, _ in getattr(owner, "named_children", list)()]
            raise ValueError(
                f"param={path!r}: {where} ({type(owner).__name__}) has no "
                f"{'number' if is_last else 'module'} {part!r} (it is {value!r}); it "
                f"has the modules {children} and the numbers {numbers}. For the "
                "background penalty set model.bbox_head.type to the head of this "
                "package for it, 'AreaAwareYOLOv8Head' for YOLOv8 and YOLO11, and "
                "model.bbox_head.loss_bg=dict(type='BgPenaltyLoss'); without one take "
                "this LossParamSchedulerHook out of custom_hooks"
            )
        if not is_last:
            owner = value
    return owner, name
