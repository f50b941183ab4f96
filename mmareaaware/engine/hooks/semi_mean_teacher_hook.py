"""Makes the teacher of a semi-supervised detector out of its student."""

import math
from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce_params, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .semi_phases import SemiPhases, unwrap

SCHEDULES = ("constant", "cosine")


@HOOKS.register_module()
class SemiMeanTeacherHook(Hook):
    r"""The teacher is the exponential moving average of the student.

    At the end of the burn-in the teacher becomes a copy of the student. From then on,
    after each iteration, all its numbers follow, BatchNorm's means and variances too:

    $$
    \theta_t \leftarrow (1 - m_k) \theta_t + m_k \theta_s, \quad
    m_k = \max(m, 1 / (k + 1))
    $$

    with k the iterations since the burn-in: so a young teacher is the plain mean of the
    students it has seen ([mean teacher](https://arxiv.org/abs/1703.01780)). m is
    ``momentum``, or goes from there to ``end_momentum`` in a half cosine until the end
    of the training. The momentum depends on the iteration alone, and the teacher is in
    the checkpoint, so a resumed run goes on as if nothing had happened.

    In the burn-in nothing is averaged. Where the teacher is validated or saved then, it
    is a copy of the student.

    Several processes without ``SyncBatchNorm`` see other means and variances each;
    their mean is taken, of the students' too, so that all have one teacher.

    Args:
        momentum: m, the weight of the student.
        schedule: ``'constant'`` or ``'cosine'``.
        end_momentum: m at the end of the training, with ``'cosine'``.

    Raises:
        ValueError: A value is unknown or out of range. Before training, when the model
            is no ``SemiYOLODetector``.

    Example:
        >>> custom_hooks = [
        ...     dict(type='LossParamSchedulerHook', param='lambda_u', burn_in=5,
        ...          warmup=5),
        ...     dict(type='SemiMeanTeacherHook')]
    """

    def __init__(
        self,
        momentum: float = 0.001,
        schedule: str = "constant",
        end_momentum: float = 0.0001,
    ) -> None:
        for name, value in dict(momentum=momentum, end_momentum=end_momentum).items():
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {value}")
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {SCHEDULES}, got {schedule!r}")
        self.momentum = momentum
        self.schedule = schedule
        self.end_momentum = end_momentum
        self._has_teacher = True  # until a training says that it has none yet

    def momentum_at(self, k: int, total: int) -> float:
        """The weight of the student in the k-th update, from 1, of ``total``."""
        momentum = self.momentum
        if self.schedule == "cosine":
            along = (1 + math.cos(math.pi * min(1.0, k / total))) / 2
            momentum = self.end_momentum + along * (momentum - self.end_momentum)
        return max(momentum, 1 / (k + 1))

    def before_train(self, runner) -> None:
        """Find the end of the burn-in."""
        self._phases = SemiPhases.of(runner)
        self._first_iter = self._phases.first_iter
        self._has_teacher = runner.iter > self._first_iter  # a resumed run

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Copy the student at the end of the burn-in."""
        if runner.iter == self._first_iter:
            self._update(runner, 1.0)
            self._has_teacher = True

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Let the teacher follow."""
        k = runner.iter - self._first_iter + 1
        if k >= 1:
            total = self._phases.max_iters - self._first_iter
            self._update(runner, self.momentum_at(k, total))

    def before_val_epoch(self, runner) -> None:
        """In the burn-in of a training, validate the student under either name."""
        if not self._has_teacher:
            self._update(runner, 1.0)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """In the burn-in, save the student under either name."""
        if self._has_teacher:
            return
        state = checkpoint["state_dict"]
        for name in [n for n in state if n.startswith("teacher.")]:
            state[name] = state["student." + name.removeprefix("teacher.")].clone()

    @torch.no_grad()
    def _update(self, runner, momentum: float) -> None:
        model = unwrap(runner.model)
        statistics = list(_local_statistics(model.student))
        if statistics and get_world_size() > 1:
            all_reduce_params(statistics, op="mean")
        floats: list[tuple[Tensor, Tensor]] = []
        others: list[tuple[Tensor, Tensor]] = []
        pairs = zip(_numbers(model.teacher), _numbers(model.student), strict=True)
        for teacher, student in pairs:
            is_float = teacher.is_floating_point()
            (floats if is_float else others).append((teacher, student))
        teachers, students = map(list, zip(*floats, strict=True))
        torch._foreach_lerp_(teachers, students, momentum)
        for teacher, student in others:  # how many batches there were
            teacher.copy_(student)


def _numbers(network: nn.Module) -> Iterator[Tensor]:
    """All that a network has learnt or counted."""
    yield from network.parameters()
    yield from network.buffers()


def _local_statistics(network: nn.Module) -> Iterator[Tensor]:
    """What BatchNorm has seen on this rank alone."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            yield from (b for b in module.buffers() if b.is_floating_point())
