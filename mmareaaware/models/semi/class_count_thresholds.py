"""As many pseudo-boxes of a class per image as there are labelled boxes."""

from collections.abc import Callable, Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from .thresholds import MovingThresholds

NUM_BINS = 100


@TASK_UTILS.register_module()
class ClassCountThresholds(MovingThresholds):
    """Each class has its threshold, by matching the labelled set's boxes per image.

    The threshold of a class is the lowest score from which on the teacher finds no more
    boxes of it per unlabelled image than a labelled one has
    ([LabelMatch](https://arxiv.org/abs/2206.06608)), in hundredths, within ``min_high``
    and ``max_high``. A class that no labelled image has shown is at ``max_high``.

    Counted are the labelled branch's boxes and the teacher's scores as they come, over
    all ranks, and older ones count less: so both branches should see images of one
    kind. Where only the labelled ones are mosaics, they have more boxes per image.

    Args:
        high: What the thresholds of all classes start from.
        low: From this score on, and below its threshold, a detection is an ignored
            region.
        min_high: No threshold goes below.
        max_high: No threshold goes above.
        decay: What is left of a count after an iteration.

    Raises:
        ValueError: A value is out of range.
    """

    histogram: Tensor  # (C, 100), detections by class and score
    boxes: Tensor  # (C,), of the labelled images
    images: Tensor  # (2,), unlabelled and labelled ones

    def __init__(
        self,
        high: float = 0.6,
        low: float = 0.1,
        min_high: float = 0.3,
        max_high: float = 0.9,
        decay: float = 0.999,
    ) -> None:
        super().__init__(high, low, min_high, max_high, decay)

    def set_num_classes(self, num_classes: int) -> None:
        """Make the buffers for C classes."""
        super().set_num_classes(num_classes)
        shapes = dict(histogram=(num_classes, NUM_BINS), boxes=(num_classes,), images=2)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @torch.no_grad()
    def update(
        self,
        unlabelled: Sequence[InstanceData],
        labelled: Sequence[InstanceData],
        detect_labelled: Callable[[], Sequence[InstanceData]],
    ) -> None:
        """See ``PseudoThresholds.update``."""
        scores = torch.cat([image.scores for image in unlabelled])
        labels = torch.cat([image.labels for image in unlabelled])
        bins = (scores * NUM_BINS).long().clamp(0, NUM_BINS - 1)
        counts = torch.bincount(
            labels * NUM_BINS + bins, minlength=self.histogram.numel()
        )
        truth = torch.cat([image.labels for image in labelled]).long()
        boxes = torch.bincount(truth, minlength=len(self.boxes))
        images = counts.new_tensor([len(unlabelled), len(labelled)])
        new = torch.cat([counts, boxes, images]).double()
        all_reduce(new)
        state = self.histogram, self.boxes, self.images
        sizes = [buffer.numel() for buffer in state]
        for buffer, added in zip(state, new.split(sizes), strict=True):
            buffer.mul_(self.decay).add_(added.view_as(buffer))
        self.high.copy_(self._matching_scores())

    def _matching_scores(self) -> Tensor:
        """The lowest score of each class with no more boxes than labelled, (C,)."""
        num_unlabelled, num_labelled = self.images
        aim = self.boxes / num_labelled * num_unlabelled
        # Not cumsum, which torch refuses where GPUs are deterministic
        is_from = self.histogram.new_ones(NUM_BINS, NUM_BINS).tril()
        from_bin_on = self.histogram @ is_from  # (C, 100)
        # Rounding of decayed sums must not decide; the numbers of bins follow 0, 1, …
        too_many = from_bin_on > aim.unsqueeze(1) * (1 + 1e-9)
        scores = too_many.sum(1) / NUM_BINS
        scores = scores.masked_fill(self.boxes == 0, self.max_high)
        return scores.clamp(self.min_high, self.max_high)
