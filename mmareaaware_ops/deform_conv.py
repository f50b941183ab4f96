"""Deformable convolutions v1 and v2, forward and backward.

v1 (https://arxiv.org/abs/1703.06211) moves each tap of the kernel by an offset, v2
(https://arxiv.org/abs/1811.11168) also weighs it by a mask. `_convolve` is both, in
differentiable torch; backward repeats it and lets autograd do the rest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops_for


class _Geometry(NamedTuple):
    """Of a convolution, each (y, x), and its numbers of groups."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution v1.

    Args:
        input: (B, C, H, W)
        weight: (O, C / group, kH, kW)
        offset: (B, deformable_group · kH · kW · 2, h, w) of each tap, y before x.
        output: (B, O, h, w), written here.
        columns: Not used here.
        ones: Not used here.
        kW: Width of the kernel; the next ones are its height, and stride, padding and
            dilation of the convolution.
        group: Groups of channels that are convolved apart.
        deformable_group: Groups of channels with offsets of their own.
        im2col_step: Not used here.
    """
    geometry = _Geometry(
        (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    )
    output.copy_(_convolve(input, offset, None, weight, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the gradients of input and offset; else as `deform_conv_forward`."""
    geometry = _Geometry(
        (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    )
    tensors = (input, offset, None, weight, None)
    into = (gradInput, gradOffset, None, None, None)
    _write_gradients(tensors, into, gradOutput, geometry)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Write `scale` times the gradient of the weight; else as the function above."""
    geometry = _Geometry(
        (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    )
    weight = torch.zeros_like(gradWeight)  # linear in it: any has the same gradient
    tensors = (input, offset, None, weight, None)
    into = (None, None, None, gradWeight, None)
    _write_gradients(tensors, into, gradOutput * scale, geometry)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Deformable convolution v2: as v1, with a mask and a bias.

    Args:
        bias: (O,), used `with_bias`.
        mask: (B, deformable_group · kernel_h · kernel_w, h, w) weight of each tap.
    """
    geometry = _Geometry(
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    bias = bias if with_bias else None
    output.copy_(_convolve(input, offset, mask, weight, bias, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the gradients of all inputs; arguments as for the forward function."""
    geometry = _Geometry(
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    tensors = (input, offset, mask, weight, bias if with_bias else None)
    grad_bias = grad_bias if with_bias else None
    into = (grad_input, grad_offset, grad_mask, grad_weight, grad_bias)
    _write_gradients(tensors, into, grad_output, geometry)


def _write_gradients(
    tensors: Sequence[Tensor | None],
    into: Sequence[Tensor | None],
    grad_output: Tensor,
    geometry: _Geometry,
) -> None:
    """Gradients of the convolution by those tensors that have one to be written to."""
    tensors = [None if x is None else x.detach() for x in tensors]
    wanted = [i for i, grad in enumerate(into) if grad is not None]
    for i in wanted:
        tensors[i].requires_grad_()
    with torch.enable_grad():
        output = _convolve(*tensors, geometry)
    grads = torch.autograd.grad(output, [tensors[i] for i in wanted], grad_output)
    for i, grad in zip(wanted, grads, strict=True):
        into[i].copy_(grad)


def _convolve(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    geometry: _Geometry,
) -> Tensor:
    """Deformable convolution, (B, O, h, w), differentiable by every tensor."""
    batch, channels = input.shape[:2]
    height, width = offset.shape[2:]
    kernel = weight.shape[2:]
    taps, parts = kernel[0] * kernel[1], geometry.deform_groups
    moved = offset.view(batch, parts, taps, 2, height, width)
    place = _undeformed(kernel, (height, width), geometry).to(offset) + moved
    y, x = place.unbind(3)  # (B, parts, taps, h, w)
    inside = (y > -1) & (y < input.size(2)) & (x > -1) & (x < input.size(3))
    torchvision = torchvision_ops_for(input)
    if torchvision:  # reads the numbers of groups from the shapes
        # At -1, where the taps of a new module's border are, only it has a slope.
        moved = moved.where(inside[:, :, :, None], moved.detach())
        stride, padding, dilation, _, _ = geometry
        return torchvision.deform_conv2d(
            input, moved.view_as(offset), weight, bias, stride, padding, dilation, mask
        )
    maps = input.view(batch, parts, channels // parts, *input.shape[2:])
    columns = bilinear_samples(maps, y, x, inside)  # (B, parts, C / parts, taps, h, w)
    if mask is not None:
        columns = columns * mask.view(batch, parts, 1, taps, height, width)
    columns = columns.view(batch, geometry.groups, -1, height * width)
    kernels = weight.view(geometry.groups, -1, columns.size(2))
    output = (kernels @ columns).view(batch, -1, height, width)
    return output if bias is None else output + bias[:, None, None]


def _undeformed(
    kernel: Sequence[int], size: tuple[int, int], geometry: _Geometry
) -> Tensor:
    """Where the taps of a plain convolution are, (taps, 2, h, w)."""
    axes = []
    for axis in range(2):
        tap = torch.arange(kernel[axis])[:, None] * geometry.dilation[axis]
        start = torch.arange(size[axis]) * geometry.stride[axis]
        axes.append(start - geometry.padding[axis] + tap)  # (k, size)
    of_y, of_x = axes
    shape = (*kernel, *size)
    y = of_y[:, None, :, None].expand(shape)
    x = of_x[None, :, None, :].expand(shape)
    return torch.stack([y, x], 2).flatten(0, 1)


def bilinear_samples(maps: Tensor, y: Tensor, x: Tensor, inside: Tensor) -> Tensor:
    """Bilinear samples; zero, as their gradients are, from a cell outside on.

    Args:
        maps: (B, G, C, H, W)
        y: (B, G, taps, h, w) in cells.
        x: The same along x.
        inside: Those that are less than a cell outside.

    Returns:
        (B, G, C, taps, h, w)
    """
    height, width = maps.shape[3:]
    flat = maps.flatten(3)
    top, left = y.detach().floor(), x.detach().floor()
    below, right = y - top, x - left  # shares of the second row and column
    total = 0
    for row, share_y in ((top, 1 - below), (top + 1, below)):
        for column, share_x in ((left, 1 - right), (left + 1, right)):
            exists = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = (share_y * share_x).where(inside & exists, 0)
            # As integers: in half precision there are no others beyond 2048
            cell = row.clamp(0, height - 1).long() * width
            cell = cell + column.clamp(0, width - 1).long()
            index = cell.flatten(2)[:, :, None].expand(-1, -1, maps.size(2), -1)
            values = flat.gather(3, index).view(*maps.shape[:3], *y.shape[2:])
            total = total + values * weight[:, :, None]
    return total
