"""What losses are divided by, over all ranks."""

from collections.abc import Mapping

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def add_ranks(sums: Mapping[str, Tensor], sync: bool) -> dict[str, Tensor]:
    """Add up the sums of all ranks, in one collective.

    Args:
        sums: Scalars of this rank by name, not changed. Every rank has the same names.
        sync: False: this rank is alone.

    Returns:
        The same names, with the sums over all ranks.
    """
    if not sync or get_world_size() == 1:
        return dict(sums)
    total = torch.stack(list(sums.values()))
    all_reduce(total)
    return dict(zip(sums, total.unbind(), strict=True))


def share(total: Tensor, sync: bool) -> Tensor:
    """This rank's share of a total: with it, W ranks give the gradients of one process.

    Args:
        total: Over all ranks, a scalar.
        sync: False: this rank is alone.

    Returns:
        The total, at least 1, divided by the number of ranks.
    """
    total = total.clamp(min=1)
    world_size = get_world_size() if sync else 1
    return total if world_size == 1 else total / world_size
