"""Which priors lie inside a box, by arithmetic on the grid of each level."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..precision import at_least_float32


class Chosen(NamedTuple):
    """How many priors each box is going to choose."""

    per_box: Tensor  # (G,)
    total: int

    @classmethod
    def of(cls, per_box: Tensor, limit: int) -> "Chosen":
        """All of those (G,) that a box has, but no more than a limit.

        Waits for the device.
        """
        chosen = per_box.clamp(max=limit)
        return cls(chosen, int(chosen.sum()))


class Candidates(NamedTuple):
    """Q pairs of a box and a prior inside it, box after box, priors ascending."""

    box: Tensor  # (Q,), int64
    prior: Tensor  # (Q,), int64
    per_box: Tensor  # (G,), how many priors each box contains
    chosen: Chosen


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
        self.sizes = [(int(h), int(w)) for h, w in sizes]
        self.num_priors = sum(h * w for h, w in self.sizes)
        # Columns and rows, (2, L, longest), ascending, padded with what lies in no box
        self._lines = _pad([*columns, *rows]).unflatten(0, (2, -1))
        self._widths = torch.tensor(widths, device=device)  # (L,)
        counts = torch.tensor(heights, device=device) * self._widths
        self._starts = counts.cumsum(0) - counts  # (L,), first prior of each level

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
        _, number = self._rectangles(boxes)
        return number.prod(0).T

    def inside(self, boxes: Tensor, limit: int) -> Candidates:
        """All pairs of a box and a prior strictly inside it.

        Waits for the device once, for the number of pairs.

        Args:
            boxes: (G, 4), xyxy in px. A box with x2 <= x1 or y2 <= y1 contains none.
            limit: How many priors of a box will be chosen at most.

        Returns:
            The pairs.
        """
        first, number = self._rectangles(boxes)
        (first_column, first_row), (num_columns, num_rows) = first, number  # (L, G)
        counts = (num_columns * num_rows).T.contiguous()  # (G, L)
        per_box = counts.sum(1)
        chosen = per_box.clamp(max=limit)
        total, num_chosen = torch.stack([per_box, chosen]).sum(1).tolist()

        # Each box meets each level in a rectangle of columns and rows; number all
        # points of all rectangles in a row, and say of each which prior it is.
        widths = self._widths.unsqueeze(1)  # (L, 1)
        counts = counts.flatten()
        begin = (counts.cumsum(0) - counts).view_as(num_columns.T)
        first_prior = first_row * widths + first_column + self._starts.unsqueeze(1)
        skipped = widths - num_columns  # from row to row
        of_rectangle = torch.stack([begin, first_prior.T, num_columns.T, skipped.T])
        rectangle = torch.repeat_interleave(counts, output_size=total)  # (Q,)
        begin, first_prior, num_columns, skipped = of_rectangle.flatten(1)[:, rectangle]
        number = torch.arange(total, device=boxes.device) - begin
        row = number // num_columns
        prior = (first_prior + number).addcmul(row, skipped)
        return Candidates(
            rectangle // len(self.sizes), prior, per_box, Chosen(chosen, num_chosen)
        )

    def covered(self, boxes: Tensor, images: Tensor, num_imgs: int) -> Tensor:
        """Which priors of a batch lie strictly inside any of the boxes of their image.

        A box raises a count from its first column and row on, and lowers it again
        behind its last; what the counts add up to says how many boxes a prior is in.

        Args:
            boxes: (M, 4), xyxy in px.
            images: Image of each, (M,), int64.
            num_imgs: Number of images.

        Returns:
            (B, N), bool.
        """
        first, number = self._rectangles(boxes)
        end = first + number
        levels = []
        for level, (height, width) in enumerate(self.sizes):
            # A box that is not a number begins behind the padding, and is empty
            x = torch.stack([first[0, level], end[0, level]]).clamp(max=width)
            y = torch.stack([first[1, level], end[1, level]]).clamp(max=height)
            row = images * (height + 1) + y.unsqueeze(1)
            corner = row * (width + 1) + x  # (2, 2, M): y, x
            counts = images.new_zeros(num_imgs * (height + 1) * (width + 1))
            for i, j in ((0, 0), (1, 1)):
                counts.index_add_(0, corner[i, j], torch.ones_like(images))
                counts.index_add_(0, corner[i, 1 - j], -torch.ones_like(images))
            counts = counts.view(num_imgs, height + 1, width + 1).cumsum(1).cumsum(2)
            levels.append(counts[:, :-1, :-1].flatten(1) > 0)
        return torch.cat(levels, 1)

    def _rectangles(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """First column and row, and number of columns and rows, each (2, L, G)."""
        corners = boxes.to(self._lines.dtype).T.reshape(2, 2, 1, -1)
        low, high = corners  # (2, 1, G) each: x and y
        shape = (2, len(self.sizes), len(boxes))
        first = torch.searchsorted(
            self._lines, low.expand(shape).contiguous(), right=True
        )
        end = torch.searchsorted(self._lines, high.expand(shape).contiguous())
        # Nothing is between a number and nan, which is sorted behind the padding.
        return first, (end - first) * (low < high)


def _pad(lines: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        [line.contiguous() for line in lines],
        batch_first=True,
        padding_value=float("inf"),
    )
