"""The better the teacher knows a class, the higher its threshold."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from ...evaluation.matching import TRUE_POSITIVE, match
from .thresholds import MovingThresholds


@TASK_UTILS.register_module()
class F1Thresholds(MovingThresholds):
    r"""Each class has its threshold, which follows the teacher's F1 score.

    $$
    \tau_c \leftarrow (1 - m) \tau_c + m (0.1 + 0.8 F1_c), \quad m = 0.005
    $$

    within ``min_high`` and ``max_high``. F1 is that of the pseudo-boxes that the
    teacher would make of the labelled images, the detections with a score of
    $\tau_c$ or more, against their labels at an IoU of 0.5. This takes a forward
    pass of the teacher on the labelled branch, off the loss path, which is done in
    every ``interval``-th iteration with pseudo-labels; the rule is applied as often.
    Matches are summed over all ranks and iterations, and older ones count less. The
    labelled branch is augmented, so this F1 is lower than on the images as they are. A
    class of which nothing was seen keeps its threshold.

    Args:
        high: What the thresholds of all classes start from.
        low: From this score on, and below its threshold, a detection is an ignored
            region.
        min_high: No threshold goes below.
        max_high: No threshold goes above.
        momentum: m.
        interval: Iterations from one measurement to the next.
        decay: What is left of the matches at the next measurement.

    Raises:
        ValueError: A value is out of range.
    """

    matches: Tensor  # (3, C): true positives, detections, true boxes
    num_updates: Tensor

    def __init__(
        self,
        high: float = 0.5,
        low: float = 0.1,
        min_high: float = 0.1,
        max_high: float = 0.9,
        momentum: float = 0.005,
        interval: int = 10,
        decay: float = 0.99,
    ) -> None:
        super().__init__(high, low, min_high, max_high, decay)
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], got {momentum}")
        if not interval >= 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.momentum = momentum
        self.interval = interval

    def set_num_classes(self, num_classes: int) -> None:
        """Make the buffers for C classes."""
        super().set_num_classes(num_classes)
        matches = torch.zeros(3, num_classes, dtype=torch.float64)
        self.register_buffer("matches", matches)
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(
        self,
        unlabelled: Sequence[InstanceData],
        labelled: Sequence[InstanceData],
        detect_labelled: Callable[[], Sequence[InstanceData]],
    ) -> None:
        """See ``PseudoThresholds.update``."""
        is_due = int(self.num_updates) % self.interval == 0
        self.num_updates += 1
        if not is_due:
            return
        thresholds = self.high.cpu().numpy()
        counts = np.zeros(self.matches.shape)
        for found, truth in zip(detect_labelled(), labelled, strict=True):
            counts += count_matches(found, truth, thresholds)
        new = self.matches.new_tensor(counts)
        all_reduce(new)
        self.matches.mul_(self.decay).add_(new)
        correct, detections, boxes = self.matches
        seen = detections + boxes
        aim = 0.1 + 0.8 * (2 * correct / seen.clamp(min=1e-9))
        moved = self.high.lerp(aim.to(self.high.dtype), self.momentum)
        moved = moved.clamp(self.min_high, self.max_high)
        self.high.copy_(moved.where(seen > 0, self.high))


def count_matches(
    found: InstanceData, truth: InstanceData, thresholds: np.ndarray
) -> np.ndarray:
    """Detections of an image against its true boxes, at an IoU of 0.5.

    Args:
        found: ``bboxes`` (K, 4), ``scores`` and ``labels`` (K,).
        truth: ``bboxes`` (G, 4) and ``labels`` (G,).
        thresholds: The score from which on a detection counts, by class, (C,).

    Returns:
        By class, (3, C): true positives, detections, true boxes.
    """
    labels, scores = found.labels.cpu().numpy(), found.scores.cpu().numpy()
    counts = scores >= thresholds[labels]
    pred = dict(
        bboxes=found.bboxes.cpu().numpy()[counts],
        labels=labels[counts],
        scores=scores[counts],
    )
    gt = {key: truth[key].cpu().numpy() for key in ("bboxes", "labels")}
    kinds, _ = match(pred, gt, np.zeros((0, 4), dtype=np.float32))
    rows = pred["labels"][kinds == TRUE_POSITIVE], pred["labels"], gt["labels"]
    return np.stack([np.bincount(x, minlength=len(thresholds)) for x in rows])
