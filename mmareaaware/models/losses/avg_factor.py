"""The number that a loss is divided by, over all ranks."""

from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def share_of_total(total: Tensor, sync: bool) -> Tensor:
    """This rank's share of a total, so that W ranks give the gradients of one process.

    Args:
        total: Of this rank, a scalar; not changed.
        sync: Add up the ranks first; otherwise this rank is alone.

    Returns:
        The total, at least 1 over all ranks, divided by the number of ranks.
    """
    world_size = get_world_size()
    if not sync or world_size == 1:
        return total.clamp(min=1)
    total = total.clone()
    all_reduce(total)
    return total.clamp(min=1) / world_size
