"""Losses and assignment are computed in float32, whatever the network runs in."""

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself in float32 or float64, half precision as float32."""
    return tensor.float() if tensor.dtype in HALF else tensor


def exact_matmul(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` in the wider of the two precisions, where autocast would take half."""
    dtype = a.dtype if a.dtype == b.dtype else torch.promote_types(a.dtype, b.dtype)
    with torch.autocast(a.device.type, enabled=False):
        return a.to(dtype) @ b.to(dtype)
