"""How many operations a step asks a device for, and how often it waits for it.

On a GPU a step on few boxes is bound by the number of launches, whatever each computes.
Counted is what reaches a kernel, forward and backward; views and allocations do not.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("nonzero", "_local_scalar_dense", "masked_select", "_unique2", "equal")
ALLOCATIONS = ("empty", "new_empty")


class Operations(TorchDispatchMode):
    """Counts while it is on.

    Attributes:
        count: Operations that reach a kernel.
        waits: Those whose result, or its size, the host has to know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.waits = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.partition(".")[0]
        result = func(*args, **(kwargs or {}))
        if not (_is_view(func) or name.startswith(ALLOCATIONS) or _is_trace(func)):
            self.count += 1
        self.waits += name in WAITS or _has_mask(name, args)
        return result


def count_operations(step: Callable[[], None]) -> dict[str, int]:
    """``operations`` and ``waits`` of a step; one before it fills the caches."""
    step()
    as_list = Tensor.tolist
    with Operations() as operations:

        def tolist(tensor: Tensor) -> list:
            operations.waits += 1  # nothing is dispatched for it on a CPU
            return as_list(tensor)

        Tensor.tolist = tolist
        try:
            step()
        finally:
            Tensor.tolist = as_list
    return dict(operations=operations.count, waits=operations.waits)


def count_launches(step: Callable[[], None]) -> dict[str, int]:
    """Kernels that a step launches on a GPU, and how often the host waits for it."""
    step()
    torch.cuda.synchronize()
    kinds = (torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        step()
    counts = {event.key: event.count for event in profile.key_averages()}
    launches = sum(n for name, n in counts.items() if "LaunchKernel" in name)
    waits = counts.get("cudaStreamSynchronize", 0)
    return dict(launches=launches, stream_waits=waits)


def _is_view(func) -> bool:
    """Whether it returns memory of its arguments without writing to it."""
    aliases = [r.alias_info for r in func._schema.returns]
    is_alias = any(a is not None and not a.is_write for a in aliases)
    return is_alias or func is torch.ops.aten._unsafe_view.default


def _is_trace(func) -> bool:
    """Whether it is about types alone."""
    return not any("Tensor" in str(r.type) for r in func._schema.returns) and (
        func is not torch.ops.aten._local_scalar_dense.default
    )


def _has_mask(name: str, args: Sequence) -> bool:
    """Whether it indexes with a mask, of which nobody knows how much is set."""
    if not name.startswith("index") and name != "_index_put_impl_":
        return False
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(i is not None and i.dtype == torch.bool for i in indices)
