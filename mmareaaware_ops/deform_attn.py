"""Multi-scale deformable attention: what mmcv itself has in torch, by its other name.

mmcv asks the extension for it on GPUs; on the CPU it calls the same function itself.
"""

import torch
from torch import Tensor

from .deform_conv import bilinear_samples
from .torchvision_ops import must_be_deterministic


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Attend to some points of each level.

    Args:
        value: (B, ΣH·W, heads, D)
        value_spatial_shapes: (levels, 2) height and width.
        value_level_start_index: (levels,), not used here.
        sampling_locations: (B, Q, heads, levels, points, 2) x, y in [0, 1].
        attention_weights: (B, Q, heads, levels, points)
        im2col_step: Not used here.

    Returns:
        (B, Q, heads · D)
    """
    inputs = value, value_spatial_shapes, sampling_locations, attention_weights
    if must_be_deterministic(value):
        return _attend_by_gathering(*inputs)
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(*inputs)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of values, locations and weights into the three tensors."""
    inputs = value, sampling_locations, attention_weights
    value, locations, weights = (x.detach().requires_grad_() for x in inputs)
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            value,
            value_spatial_shapes,
            value_level_start_index,
            locations,
            weights,
            im2col_step,
        )
    grads = torch.autograd.grad(output, (value, locations, weights), grad_output)
    for into, grad in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True
    ):
        into.copy_(grad)


def _attend_by_gathering(
    value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """The same without ``grid_sample``, whose gradient is not deterministic on a GPU.

    Arguments are those of `ms_deform_attn_forward`.
    """
    sizes = shapes.tolist()
    levels = value.permute(0, 2, 3, 1).split([h * w for h, w in sizes], 3)
    total = 0
    for level, (height, width) in enumerate(sizes):
        place = locations[:, :, :, level, :, :, None]  # (B, Q, heads, points, 2, 1)
        x, y = place.permute(4, 0, 2, 3, 1, 5)  # (B, heads, points, Q, 1)
        x, y = x * width - 0.5, y * height - 0.5
        maps = levels[level].unflatten(3, (height, width))  # (B, heads, D, H, W)
        samples = bilinear_samples(maps, y, x, torch.ones_like(x, dtype=torch.bool))
        weight = weights[:, :, :, level].permute(0, 2, 3, 1)[:, :, None, :, :, None]
        total = total + (samples * weight).sum(3)  # (B, heads, D, Q, 1)
    return total.squeeze(4).permute(0, 3, 1, 2).flatten(2)
