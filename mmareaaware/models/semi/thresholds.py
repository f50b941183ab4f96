"""From which score on is a detection a pseudo-label, and from which is it uncertain?"""

from collections.abc import Callable, Sequence

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor, nn


class PseudoThresholds(nn.Module):
    """Two thresholds, of which the upper one may be of a class, and may move.

    All that moves is in buffers, and so in the checkpoint. Every rank computes the
    same.

    Args:
        high: From this score on a detection is a pseudo-box; where it moves, what it
            starts from.
        low: From this score on, and below ``high``, it is uncertain: an ignored region.

    Raises:
        ValueError: They are not scores, or in the wrong order.
    """

    high: Tensor  # (C,)

    def __init__(self, high: float, low: float) -> None:
        super().__init__()
        if not 0 < low <= high < 1:
            raise ValueError(
                f"thresholds must be 0 < low <= high < 1, got low={low}, high={high}"
            )
        self.initial = high
        self.low = low

    def set_num_classes(self, num_classes: int) -> None:
        """Make the buffers for C classes."""
        self.register_buffer("high", torch.full((num_classes,), float(self.initial)))

    def update(
        self,
        unlabelled: Sequence[InstanceData],
        labelled: Sequence[InstanceData],
        detect_labelled: Callable[[], Sequence[InstanceData]],
    ) -> None:
        """Learn from an iteration in which there are pseudo-labels.

        Args:
            unlabelled: The teacher's detections on the weak views from ``low`` on.
            labelled: The true boxes of the labelled images.
            detect_labelled: Gives the teacher's detections on these; costs a forward
                pass.
        """


@TASK_UTILS.register_module()
class FixedThresholds(PseudoThresholds):
    """Thresholds that stay where they are.

    Args:
        high: From this score on a detection is a pseudo-box.
        low: From this score on, and below ``high``, it is an ignored region.

    Raises:
        ValueError: They are not scores, or in the wrong order.
    """

    def __init__(self, high: float = 0.6, low: float = 0.1) -> None:
        super().__init__(high, low)


class MovingThresholds(PseudoThresholds):
    """Upper thresholds that each class has by itself, and that move.

    Args:
        high: What the thresholds of all classes start from.
        low: From this score on, and below its threshold, a detection is an ignored
            region.
        min_high: No threshold goes below.
        max_high: No threshold goes above.
        decay: What is left of the counts behind them at the next update.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(
        self, high: float, low: float, min_high: float, max_high: float, decay: float
    ) -> None:
        super().__init__(high, low)
        if not low <= min_high <= high <= max_high < 1:
            raise ValueError(
                "moving thresholds need low <= min_high <= high <= max_high < 1, got "
                f"low={low}, min_high={min_high}, high={high}, max_high={max_high}"
            )
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.min_high = min_high
        self.max_high = max_high
        self.decay = decay
