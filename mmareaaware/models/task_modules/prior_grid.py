"""Which priors lie inside a box, by arithmetic on the grid of each level."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..precision import at_least_float32


class Candidates(NamedTuple):
    """Q pairs of a box and a prior inside it, box after box, priors ascending."""

    box: Tensor  # (Q,), int64
    prior: Tensor  # (Q,), int64
    per_box: Tensor  # (G,), how many priors each box contains
    num_chosen: int  # Σ min(per_box, limit)


class PriorGrid:
    """Points on one regular grid per pyramid level, row by row.

    Args:
        levels: The points of each level, (H·W, 2 or more): x, y, ...
        sizes: Height and width of each level.
    """

    def __init__(
        self, levels: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> None:
        heights, widths = zip(*sizes, strict=True)
        device = levels[0].device
        levels = [at_least_float32(points) for points in levels]
        columns = [p[:w, 0] for p, w in zip(levels, widths, strict=True)]
        rows = [p[::w, 1] for p, w in zip(levels, widths, strict=True)]
        self.num_priors = sum(h * w for h, w in sizes)
        # (L, longest), ascending, padded with what lies in no box
        self._columns = _pad(columns)
        self._rows = _pad(rows)
        self._widths = torch.tensor(widths, device=device)  # (L,)
        sizes = torch.tensor(heights, device=device) * self._widths
        self._starts = sizes.cumsum(0) - sizes  # (L,), first prior of each level

    @classmethod
    def from_priors(cls, priors: Tensor) -> "PriorGrid":
        """Recover the grids from the priors of all levels (waits for the device).

        Args:
            priors: (N, 4): x, y, stride, stride, level after level.

        Returns:
            The grid.

        Raises:
            ValueError: The priors have no strides, or are not on regular grids.
        """
        if priors.dim() != 2 or priors.size(1) < 3:
            raise ValueError(
                "priors must be (N, 4): x, y, stride, stride "
                f"(MlvlPointGenerator with_stride=True), got {tuple(priors.shape)}"
            )
        _, counts = priors[:, 2].unique_consecutive(return_counts=True)
        levels = priors.split(counts.tolist())
        sizes = []
        for points in levels:
            width = int((points[:, 1] == points[0, 1]).sum())
            sizes.append((len(points) // width, width))
        for points, (height, width) in zip(levels, sizes, strict=True):
            columns, rows = points[:width, 0], points[::width, 1]
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            ascends = (columns.diff() > 0).all() and (rows.diff() > 0).all()
            is_grid = torch.equal(torch.stack([x, y], -1).flatten(0, 1), points[:, :2])
            if not (ascends and is_grid):
                cure = "Use BatchTaskAlignedAssigner"
                if priors.dtype in (torch.float16, torch.bfloat16):
                    cure = (
                        f"They are rounded to {priors.dtype}; AreaAwareYOLOv8Head has "
                        "them in float32, in a stock head use BatchTaskAlignedAssigner"
                    )
                raise ValueError(
                    f"the {len(points)} priors of stride {points[0, 2].item():g} are "
                    f"not {height} rows of {width} ascending points: "
                    f"SparseTaskAlignedAssigner needs regular grids. {cure}"
                )
        return cls(levels, sizes)

    def count(self, boxes: Tensor) -> Tensor:
        """How many priors of each level lie strictly inside each box.

        Args:
            boxes: (G, 4), xyxy in px. A box with x2 <= x1 or y2 <= y1 contains none.

        Returns:
            (G, L), int64.
        """
        _, num_columns, _, num_rows = self._rectangles(boxes)
        return num_columns * num_rows

    def inside(self, boxes: Tensor, limit: int) -> Candidates:
        """All pairs of a box and a prior strictly inside it.

        Waits for the device once, for the number of pairs.

        Args:
            boxes: (G, 4), xyxy in px. A box with x2 <= x1 or y2 <= y1 contains none.
            limit: How many priors of a box will be chosen at most.

        Returns:
            The pairs.
        """
        first_column, num_columns, first_row, num_rows = self._rectangles(boxes)
        counts = num_columns * num_rows  # (G, L)
        per_box = counts.sum(1)
        sizes = torch.stack([per_box.sum(), per_box.clamp(max=limit).sum()])
        total, num_chosen = sizes.tolist()

        # Each box meets each level in a rectangle of columns and rows; number all
        # points of all rectangles in a row, and say of each which prior it is.
        counts = counts.flatten()
        rectangle = torch.arange(len(counts), device=boxes.device)
        rectangle = rectangle.repeat_interleave(counts, output_size=total)  # (Q,)
        begin = counts.cumsum(0) - counts
        first_prior = self._starts + first_row * self._widths + first_column
        number = torch.arange(total, device=boxes.device) - begin[rectangle]
        row = number // num_columns.flatten()[rectangle]
        skipped = (self._widths - num_columns).flatten()  # from row to row
        prior = first_prior.flatten()[rectangle] + number + row * skipped[rectangle]
        return Candidates(rectangle // len(self._widths), prior, per_box, num_chosen)

    def _rectangles(self, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """First column and number of columns, first row and number of rows, (G, L)."""
        left, top, right, bottom = boxes.to(self._columns.dtype).T.contiguous()
        columns = _between(self._columns, left, right)
        return *columns, *_between(self._rows, top, bottom)


def _pad(lines: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        [line.contiguous() for line in lines],
        batch_first=True,
        padding_value=float("inf"),
    )


def _between(lines: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first line above ``low`` and how many lie below ``high``, (G, L)."""
    shape = (len(lines), len(low))
    first = torch.searchsorted(lines, low.expand(shape).contiguous(), right=True)
    end = torch.searchsorted(lines, high.expand(shape).contiguous())
    # Nothing is between a number and nan, which is sorted behind the padding.
    return first.T, ((end - first) * (low < high)).T
