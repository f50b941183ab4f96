"""Says in which phase a semi-supervised training is."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from .semi_phases import Phase, SemiPhases

MEANING = {
    Phase.BURN_IN: "burn-in: labelled images only, loss_unsup is 0",
    Phase.WARM_UP: "warm-up: the weight of the pseudo-labels rises",
    Phase.FULL: "full: the pseudo-labels have their full weight",
}


@HOOKS.register_module()
class SemiPhaseHook(Hook):
    """Logs the phase of every iteration as a number, and its change in a line.

    ``phase`` is 0 in the burn-in, 1 in the warm-up and 2 after it, by the weight of the
    unsupervised loss; see ``SemiYOLODetector``.
    """

    def before_train(self, runner) -> None:
        """Read the schedule."""
        self._phases = SemiPhases.of(runner)
        self._last: Phase | None = None

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Log the phase."""
        phase = self._phases.phase_at(runner.iter)
        runner.message_hub.update_scalar("train/phase", int(phase))
        if phase != self._last:
            weight = self._phases.weight_at(runner.iter)
            where = f"epoch {runner.epoch + 1}, iteration {runner.iter + 1}"
            print_log(
                f"{where}: {MEANING[phase]} (lambda_u = {weight:g})", runner.logger
            )
        self._last = phase
