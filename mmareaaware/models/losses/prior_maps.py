"""What a network says of the priors of all levels, left where its layers put it."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..precision import at_least_float32


class Place(NamedTuple):
    """Where P priors of a batch are in the maps (B, K, n) of L levels."""

    image: Tensor  # (P,)
    prior: Tensor  # (P,), among those of all levels
    of_level: Tensor  # place in the map of each level, any where it is not, (L, P)
    level: Tensor  # (P,)
    start: Tensor  # first prior of its level, (P,)
    level_size: Tensor  # how many priors its level has, (P,)

    def take(self, levels: Sequence[Tensor], channel: Tensor | slice) -> Tensor:
        """Numbers of the priors: of one channel each, (P,), or of a slice, (P, K)."""
        pairs = zip(levels, self.of_level, strict=True)
        found = torch.stack([m[self.image, channel, at] for m, at in pairs])
        level = self.level if found.dim() == 2 else self.level.unsqueeze(1)
        return found.gather(0, level.expand_as(found[:1])).squeeze(0)

    def flat(self, levels: Sequence[Tensor], channel: Tensor) -> Tensor:
        """Where the numbers are in a buffer of all maps, one after the other.

        Args:
            levels: The maps.
            channel: Broadcast against (P, 1).
        """
        num_imgs, num_channels, _ = levels[0].shape
        begin = self.prior.add(self.start, alpha=num_imgs * num_channels - 1)
        row = (self.image * num_channels).unsqueeze(1) + channel
        return begin.unsqueeze(1).addcmul(row, self.level_size.unsqueeze(1))


class PriorPlaces:
    """Finds priors in the maps of their levels.

    Args:
        counts: Number of priors of each level.
        device: Of the maps.
    """

    def __init__(self, counts: Sequence[int], device: torch.device) -> None:
        count = torch.tensor(counts, device=device).unsqueeze(1)  # (L, 1)
        start = count.cumsum(0) - count
        prior = torch.arange(sum(counts), device=device)
        of_level = torch.minimum((prior - start).clamp(min=0), count - 1)  # (L, N)
        level = (prior >= start).sum(0) - 1
        self._table = torch.stack(
            [*of_level, level, start.squeeze(1)[level], count.squeeze(1)[level]]
        )

    def find(self, image: Tensor, prior: Tensor) -> Place:
        """The place of each of P priors, by image (P,) and number (P,)."""
        found = self._table[:, prior]
        return Place(image, prior, found[:-3], *found[-3:])


class PriorMaps:
    """K numbers for each of the N priors of B images, as a map a level.

    To join the maps, and to part the gradient again, would be to copy all of it for the
    sake of few positives.

    Args:
        levels: (B, K, n) each, level after level.
        places: Finds the priors.
    """

    def __init__(self, levels: Sequence[Tensor], places: PriorPlaces) -> None:
        self.levels = tuple(levels)
        self.places = places

    @classmethod
    def of(cls, joint: Tensor) -> "PriorMaps":
        """The maps of a tensor (B, N, K), as one level."""
        return cls([joint.mT], PriorPlaces([joint.size(1)], joint.device))

    @property
    def shape(self) -> tuple[int, int]:
        """B and N."""
        return len(self.levels[0]), sum(m.size(2) for m in self.levels)

    @cached_property
    def dense(self) -> Tensor:
        """All of it, (B, N, K), in float32 at least."""
        is_joint = len(self.levels) == 1
        with torch.enable_grad():  # whoever asks first, a loss may be next
            joint = self.levels[0] if is_joint else torch.cat(self.levels, 2)
            return at_least_float32(joint.mT)

    def rows(self, image: Tensor, prior: Tensor) -> Tensor:
        """The numbers of P priors, (P, K), in float32 at least."""
        if len(self.levels) == 1:
            return self.dense[image, prior]
        place = self.places.find(image, prior)
        return at_least_float32(_Rows.apply(place, *self.levels))

    @torch.no_grad()
    def values(self, image: Tensor, prior: Tensor, channel: Tensor) -> Tensor:
        """One number of each of Q priors, (Q,), in float32 at least, as a constant."""
        place = self.places.find(image, prior)
        return at_least_float32(place.take(self.levels, channel))


def empty_like(
    levels: Sequence[Tensor], buffer: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Memory for all maps in one piece, and its part for each level, in its shape.

    Args:
        levels: (B, K, n) each.
        buffer: Memory of that size, to be used again.
    """
    sizes = [m.numel() for m in levels]
    if buffer is None:
        buffer = levels[0].new_empty(sum(sizes))
    parts = zip(buffer.split(sizes), levels, strict=True)
    return buffer, [part.view(m.shape) for part, m in parts]


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, place, *levels):
        ctx.place = place
        ctx.like = [m.new_empty(()).expand(m.shape) for m in levels]
        return place.take(levels, slice(None))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        channel = torch.arange(grad.size(1), device=grad.device)
        where = ctx.place.flat(ctx.like, channel)  # (P, K)
        buffer, grads = empty_like(ctx.like)
        buffer.zero_().index_put_((where,), grad)  # no prior occurs twice
        return None, *grads
