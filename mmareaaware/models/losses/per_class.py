"""The settings of a loss that have a number for each class, and their life."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from .area_weights import AreaWeight

AUTO = "auto"

Counts = Sequence[int]
Rule = Callable[[Counts], Tensor]
PerClass = Sequence[float] | Mapping | Rule | None


class PerClassSettings(nn.Module):
    """Holds class weights and margins, which may wait for the counts of the classes.

    They are buffers that are in no checkpoint: they go where the model goes.

    Args:
        class_weight: C numbers, or the config of a rule that makes them from
            ``class_counts``.
        margin: C numbers, or such a config.
        class_counts: C counts, or ``'auto'``: ``set_class_counts`` will be called.

    Attributes:
        class_weights: (C,), None for 1.
        margins: In logits, (C,), None for 0.
        class_counts: C counts, None where there are none (yet).
        awaits_class_counts: Whether a rule waits for counts.

    Raises:
        ValueError: A value is unknown, negative, or there is nothing to count with.
    """

    class_weights: Tensor | None
    margins: Tensor | None

    def __init__(
        self,
        class_weight: PerClass,
        margin: PerClass,
        class_counts: Counts | str | None,
    ) -> None:
        super().__init__()
        self._class_weight = _build(class_weight)
        self._margin = _build(margin)
        self._num_classes: int | None = None
        self.register_buffer("class_weights", None, persistent=False)
        self.register_buffer("margins", None, persistent=False)
        uses_counts = callable(self._class_weight) or callable(self._margin)
        if isinstance(class_counts, str) and class_counts != AUTO:
            raise ValueError(
                f"class_counts must be a list of counts or 'auto', got {class_counts!r}"
            )
        if uses_counts and class_counts is None:
            raise ValueError(
                "a class weight or margin that depends on counts needs class_counts: "
                "give a list, or class_counts='auto' and "
                "custom_hooks=[dict(type='ClassCountsHook')]; got None"
            )
        self.class_counts: Counts | None = None
        self.awaits_class_counts = uses_counts and class_counts == AUTO
        if not self.awaits_class_counts:
            self.set_class_counts(
                None if isinstance(class_counts, str) else class_counts
            )

    def set_class_counts(self, class_counts: Counts | None) -> None:
        """Compute class weights and margins.

        Args:
            class_counts: C counts; None if neither depends on counts.

        Raises:
            ValueError: A count is negative, or their number is not that of the classes.
        """
        if class_counts is not None and not all(n >= 0 for n in class_counts):
            raise ValueError(f"class_counts must not be negative, got {class_counts}")
        self.class_counts = class_counts
        self.class_weights = _numbers(self._class_weight, class_counts)
        self.margins = _numbers(self._margin, class_counts)
        self.awaits_class_counts = False
        self._check_lengths()

    def set_num_classes(self, num_classes: int) -> None:
        """Called by a head that knows this loss; per-class settings are checked by it.

        Args:
            num_classes: The number C of classes.

        Raises:
            ValueError: A per-class setting has another length.
        """
        self._num_classes = num_classes
        self._check_lengths()

    @property
    def has_head(self) -> bool:
        """Whether a head that knows this loss has announced itself."""
        return self._num_classes is not None

    def check_counted(self) -> None:
        """See that nothing waits for counts.

        Raises:
            RuntimeError: ``class_counts='auto'`` and nobody has counted.
        """
        if self.awaits_class_counts:
            raise RuntimeError(
                "class_counts='auto' and nobody has counted: add "
                "custom_hooks=[dict(type='ClassCountsHook')], or call "
                "set_class_counts([...])"
            )

    def _check_lengths(self) -> None:
        if self._num_classes is None:
            return
        settings = dict(
            class_counts=self.class_counts,
            class_weight=self.class_weights,
            margin=self.margins,
        )
        for name, values in settings.items():
            if values is not None and len(values) != self._num_classes:
                raise ValueError(
                    f"{name} has {len(values)} entries for {self._num_classes} "
                    f"classes: {list(values)}"
                )


def _build(setting: PerClass) -> Sequence[float] | Rule | None:
    """Numbers stay, a config becomes the rule that makes numbers from counts."""
    if isinstance(setting, Mapping):
        rule = TASK_UTILS.build(setting)
        if isinstance(rule, AreaWeight):
            raise ValueError(
                f"{setting} is an area weight, not a class weight or margin"
            )
        return rule
    if setting is None or callable(setting):
        return setting
    if isinstance(setting, str):
        raise ValueError(
            "class weights and margins are lists of numbers or configs, for example "
            f"dict(type='LDAMMargin'), got {setting!r}"
        )
    if not all(0 <= value < math.inf for value in setting):  # nan is not
        raise ValueError(
            "class weights and margins must be finite and not negative, got "
            f"{list(setting)}"
        )
    return setting


def _numbers(
    setting: Sequence[float] | Rule | None, counts: Counts | None
) -> Tensor | None:
    if setting is None:
        return None
    if callable(setting):
        if counts is None:
            raise ValueError(f"{setting!r} makes numbers from class counts, got None")
        return setting(counts)
    return torch.tensor(setting, dtype=torch.float32)
