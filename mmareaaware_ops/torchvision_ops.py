"""torchvision's operators, where they load and have what is asked for."""

import functools
from types import ModuleType

import torch
from torch import Tensor

DTYPES = (torch.half, torch.float, torch.double)


@functools.cache
def torchvision_ops() -> ModuleType | None:
    """``torchvision.ops``; None where it is missing or was built for another torch.

    Looked for once, when the first operator is called.
    """
    try:
        import torchvision
    except Exception:  # a build for another torch raises whatever it runs into
        return None
    return torchvision.ops


def torchvision_ops_for(maps: Tensor) -> ModuleType | None:
    """Those that pool and convolve feature maps; None where they cannot these.

    They have no bfloat16, and on a GPU no deterministic gradient.
    """
    if maps.dtype not in DTYPES or must_be_deterministic(maps):
        return None
    return torchvision_ops()


def must_be_deterministic(tensor: Tensor) -> bool:
    """Whether torch raises where a gradient is summed up in any order on a GPU."""
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()
