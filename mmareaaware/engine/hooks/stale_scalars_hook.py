"""Keeps numbers of an earlier run out of the log of a resumed one."""

from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS


@HOOKS.register_module()
class StaleScalarsHook(Hook):
    """Logs what this run computes, and no more, where it goes on from another.

    MMEngine resumes the history of all scalars and logs each of them, so a run without
    penalty that resumes one with it would show a ``lambda_bg`` and a ``loss_bg`` that
    it does not have. With this hook the history of a scalar of the training goes on
    with its first new value, and in the first iteration at that. What comes later, once
    in a while, begins anew. Importing the package adds the hook to every run.
    """

    def __init__(self) -> None:
        self._histories: dict[str, HistoryBuffer] = {}

    def before_train(self, runner) -> None:
        """Put the resumed histories aside."""
        scalars = runner.message_hub.log_scalars
        names = [name for name in scalars if name.startswith("train/")]
        self._histories = {name: scalars.pop(name) for name in names}

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Of the scalars that there are again, let the history go on."""
        histories, self._histories = self._histories, {}
        scalars = runner.message_hub.log_scalars
        for name in histories.keys() & scalars.keys():
            history = histories[name]
            values, counts = (part.tolist() for part in scalars[name].data)
            for value, count in zip(values, counts, strict=True):
                history.update(value, count)
            scalars[name] = history
