"""Hard non-maximum suppression."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops

# Boxes that are decided together: few at first, when many others go with them.
FIRST_BLOCK, LAST_BLOCK = 256, 1024
PAIRS = 2**18  # compared at once: what bounds the memory
SLACK = 1.001  # on bounds that only choose which pairs are compared


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy suppression, with the order and the ties of mmcv's compiled operator.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2.
        scores: (N,)
        iou_threshold: Boxes that overlap a better one by more than this go.
        offset: 0, or 1 where a box from pixel 3 to pixel 3 is one pixel wide.

    Returns:
        Indices of the boxes that stay, (K,), best first.

    Raises:
        ValueError: The threshold is negative.
    """
    if iou_threshold < 0:
        raise ValueError(f"iou_threshold must not be negative, got {iou_threshold}")
    if boxes.dtype in (torch.half, torch.bfloat16):
        boxes = boxes.float()
    order = scores.sort(0, descending=True)[1]
    boxes = boxes[order]
    torchvision = torchvision_ops()
    if torchvision and offset == 0 and boxes.dtype == torch.float:
        # It orders equal scores in another way, so there must be none; and compares
        # with a double, which 0.6 as a float is not equal to.
        descending = -torch.arange(len(boxes), dtype=boxes.dtype, device=boxes.device)
        kept = torchvision.nms(boxes, descending, float(np.float32(iou_threshold)))
    else:
        kept = _greedy(_SortedBoxes.of(boxes, offset), iou_threshold)
    return order[kept]


def _greedy(alive: "_SortedBoxes", threshold: float) -> Tensor:
    """Ranks of the boxes that stay, ascending.

    Block by block: the best boxes are decided, then those that stay suppress what
    overlaps them among all others, which take no further part.
    """
    kept = [alive.rank[:0]]
    size = FIRST_BLOCK
    while len(alive):
        block, alive = alive.split_off(size)
        block = block.among_themselves(threshold)
        kept.append(block.rank)
        if len(alive):
            alive = alive.beside(block, threshold)
        size = min(2 * size, LAST_BLOCK)
    return torch.cat(kept).sort()[0]


class _SortedBoxes:
    """Boxes in the order of their left sides, so that neighbours are found fast.

    Two boxes whose IoU exceeds t also overlap by more than t of their common extent
    along x. So the right one starts behind the left one by no more than
    ``min(1, 1/t − 1)`` of the left one's width: a range of the sorted boxes. Classes
    that ``batched_nms`` has moved apart do not even meet.

    Args:
        columns: (5, N) x1, y1, x2, y2, area.
        rank: (N,) place of each box by score.
        offset: As for `nms`.
    """

    def __init__(self, columns: Tensor, rank: Tensor, offset: int) -> None:
        self.columns = columns
        self.rank = rank
        self.offset = offset

    @classmethod
    def of(cls, boxes: Tensor, offset: int) -> "_SortedBoxes":
        """Boxes that come best first, (N, 4)."""
        x1, y1, x2, y2 = boxes.T
        area = (x2 - x1 + offset) * (y2 - y1 + offset)
        x1 = torch.where(x1.isnan(), torch.inf, x1)  # a place for it; its area is NaN
        rank = x1.argsort()
        columns = torch.stack([x1, y1, x2, y2, area])
        return cls(columns.index_select(1, rank), rank, offset)

    def __len__(self) -> int:
        return len(self.rank)

    def where(self, mask: Tensor) -> "_SortedBoxes":
        index = mask.nonzero()[:, 0]
        columns = self.columns.index_select(1, index)
        return _SortedBoxes(columns, self.rank.index_select(0, index), self.offset)

    def split_off(self, number: int) -> tuple["_SortedBoxes", "_SortedBoxes"]:
        """The best ones, and the others."""
        if len(self) <= number:
            return self, _SortedBoxes(self.columns[:, :0], self.rank[:0], self.offset)
        # Not kthvalue: some versions of torch refuse it where GPUs are deterministic
        last = self.rank.topk(number, largest=False, sorted=False)[0].max()
        best = self.rank <= last
        return self.where(best), self.where(~best)

    def among_themselves(self, threshold: float) -> "_SortedBoxes":
        """Those that stay if there are no others."""
        start = torch.arange(1, len(self) + 1, device=self.rank.device)
        pairs = list(self._conflicts(self, start, threshold))
        first, second = torch.cat(pairs, 1) if len(pairs) > 1 else pairs[0]
        rank = self.rank
        swap = rank.index_select(0, first) > rank.index_select(0, second)
        better = torch.where(swap, second, first)
        worse = torch.where(swap, first, second)
        # Who is suppressed by one that stays? Every round settles, by rank, one more
        # box at least; few rounds settle all but contrived cases.
        stays, settled = torch.ones_like(rank, dtype=torch.bool), False
        while not settled:
            before = stays
            hit = worse.masked_select(before.index_select(0, better))
            stays = torch.ones_like(before).index_fill_(0, hit, False)
            settled = stays.equal(before)
        return self.where(stays)

    def beside(self, others: "_SortedBoxes", threshold: float) -> "_SortedBoxes":
        """Those that overlap none of the others too much."""
        stays = torch.ones_like(self.rank, dtype=torch.bool)
        start = torch.searchsorted(self.columns[0], others.columns[0])
        for _, index in others._conflicts(self, start, threshold):
            stays.index_fill_(0, index, False)
        start = torch.searchsorted(others.columns[0], self.columns[0])
        for index, _ in self._conflicts(others, start, threshold):
            stays.index_fill_(0, index, False)
        return self.where(stays)

    def _conflicts(
        self, others: "_SortedBoxes", start: Tensor, threshold: float
    ) -> Iterator[Tensor]:
        """Pairs, (2, P), of a box and another, not left of it, that overlap too much.

        Args:
            others: Second of each pair.
            start: (N,) the first one of them that is not left of each box.
            threshold: The IoU that is too much.
        """
        x1, x2 = self.columns[0].double(), self.columns[2]
        share = min(1.0, SLACK / threshold - 1) if threshold > 0 else 1.0
        reach = x1 + SLACK * share * (x2 - x1 + self.offset)
        stop = torch.searchsorted(others.columns[0].double(), reach, right=True)
        for first, second in _ranges(start, stop):
            iou = self._iou(first, others, second)
            close = (iou > threshold).nonzero()[:, 0]
            yield torch.stack([first, second]).index_select(1, close)

    def _iou(self, first: Tensor, others: "_SortedBoxes", second: Tensor) -> Tensor:
        """IoU of pairs, (P,), by the compiled code's operations: it rounds alike."""
        left, top, right, bottom, area = self.columns.index_select(1, first)
        x1, y1, x2, y2, other_area = others.columns.index_select(1, second)
        width = right.minimum(x2) - left.maximum(x1) + self.offset
        height = bottom.minimum(y2) - top.maximum(y1) + self.offset
        inter = width.clamp_(min=0) * height.clamp_(min=0)
        return inter / (area + other_area - inter)


def _ranges(start: Tensor, stop: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (i, j) with start_i ≤ j < stop_i, about as many as `PAIRS` at a time."""
    count = (stop - start).clamp_(min=0)
    total = count.cumsum(0)
    shift = start - total + count
    limits = torch.tensor(range(PAIRS, int(total[-1]), PAIRS), dtype=torch.long)
    cuts = torch.searchsorted(total, limits.to(total.device), right=True).tolist()
    done = 0
    for begin, end in pairwise([0, *cuts, len(total)]):
        first = torch.repeat_interleave(count[begin:end]) + begin
        second = torch.arange(done, done + len(first), device=start.device)
        second += shift.index_select(0, first)
        yield first, second
        done += len(first)
