"""Random cases for each operator that a compiled mmcv has on the CPU.

Inputs come from NumPy's PCG64 and uniform numbers only, which no version changes.
`OPERATORS` maps a name to what runs the case of a seed on an extension module, as
mmcv's own Python does, and returns two kinds of results: integers, compared exactly,
and tensors, compared by their values.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NUM_CASES = 1000


class Result(NamedTuple):
    """What an operator returned.

    Args:
        exact: Integers.
        close: Tensors, in the order of `tolerance`.
        tolerance: Absolute, for values of about 1.
    """

    exact: Tensor
    close: list[Tensor]
    tolerance: float


class Draw:
    """Uniform numbers of a seed."""

    def __init__(self, *seed: int) -> None:
        self.generator = np.random.Generator(np.random.PCG64(seed))

    def uniform(self, *shape: int, low: float = 0, high: float = 1) -> Tensor:
        values = low + (high - low) * self.generator.random(shape)
        return torch.from_numpy(np.asarray(values)).float()

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return low + int(self.generator.random() * (high - low + 1))

    def choice(self, *options):
        return options[self.integer(0, len(options) - 1)]


def boxes_and_scores(draw: Draw) -> tuple[Tensor, Tensor]:
    """Boxes, (N, 4), and scores, (N,), with every kind of difficulty."""
    number = draw.choice(0, 1, 2, 7, 40, 40, 150, 150, 600, 1500)
    size = draw.choice(10.0, 100.0, 1000.0)
    center = draw.uniform(number, 2, high=size)
    side = draw.uniform(number, 2, low=-0.02, high=draw.choice(0.1, 0.5, 1.0)) * size
    boxes = torch.cat([center - side / 2, center + side / 2], 1)
    kind = draw.choice(
        "plain", "integer", "clusters", "classes", "equal", "nan", "line"
    )
    if kind == "integer":  # many overlaps that are equal, or equal the threshold
        boxes = (boxes / size * 12).round()
    elif kind == "clusters":
        which = (draw.uniform(number) * 5).long().clamp(max=max(number - 1, 0))
        boxes = boxes[which] + draw.uniform(number, 4, high=0.1 * size)
    elif kind == "classes":  # as batched_nms moves them apart
        boxes += (draw.uniform(number, 1) * 80).floor() * (size * 2 + 1)
    elif kind == "equal":
        boxes = boxes[(draw.uniform(number) * number * 0.3).long()]
    elif kind == "nan":
        boxes[draw.uniform(number, 4) < 0.02] = torch.nan
    elif kind == "line":  # no area, unless the offset is 1
        boxes[:, 2] = boxes[:, 0]
    scores = draw.uniform(number)
    if draw.choice(True, False):
        scores = (scores * 8).round() / 8
    return boxes, scores


def nms(ext, seed: int) -> Result:
    draw = Draw(1, seed)
    boxes, scores = boxes_and_scores(draw)
    threshold = draw.choice(0.0, 0.1, 0.3, 0.5, 0.6, 0.65, 0.7, 0.9, 1.0)
    offset = draw.choice(0, 1)
    kept = ext.nms(boxes, scores, iou_threshold=threshold, offset=offset)
    return Result(kept, [], 0)


def softnms(ext, seed: int) -> Result:
    draw = Draw(2, seed)
    boxes, scores = boxes_and_scores(draw)
    boxes, scores = boxes[:150], scores[:150]
    dets = boxes.new_empty(len(boxes), 5)
    kept = ext.softnms(
        boxes,
        scores,
        dets,
        iou_threshold=draw.choice(0.0, 0.3, 0.5, 0.6),
        sigma=draw.choice(0.1, 0.5, 2.0),
        min_score=draw.choice(0.0, 1e-3, 0.05, 0.3),
        method=draw.choice(0, 1, 2),
        offset=draw.choice(0, 1),
    )
    # NaN coordinates come back as they are: compare the scores alone.
    return Result(kept, [dets[: len(kept), 4].nan_to_num(-1)], 1e-5)


def roi_align(ext, seed: int) -> Result:
    draw = Draw(3, seed)
    images, channels = draw.integer(1, 3), draw.integer(1, 3)
    height, width = draw.integer(1, 14), draw.integer(1, 14)
    scale = draw.choice(1.0, 0.5, 0.25, 1 / 32)
    number = draw.choice(0, 1, 4, 9)
    reach = draw.choice(1.0, 1.0, 1.5, 3.0)  # how far outside
    extent = torch.tensor([width, height]) / scale
    center = (draw.uniform(number, 2, low=-0.5, high=0.5) * reach + 0.5) * extent
    side = draw.uniform(number, 2, high=draw.choice(0.0, 0.2, 1.0, 2.0)) * extent
    image = (draw.uniform(number, 1) * images).floor()
    rois = torch.cat([image, center - side / 2, center + side / 2], 1)
    dtype = draw.choice(*[torch.float] * 5, torch.half)
    options = dict(
        aligned_height=draw.integer(1, 7),
        aligned_width=draw.integer(1, 7),
        spatial_scale=scale,
        sampling_ratio=draw.choice(0, 0, 2),
        pool_mode=draw.choice(0, 1, 1),
        aligned=draw.choice(True, False),
    )
    shape = (number, channels, options["aligned_height"], options["aligned_width"])
    maps = draw.uniform(images, channels, height, width, low=-1).to(dtype)
    grad = draw.uniform(*shape, low=-1).to(dtype)
    rois = rois.to(dtype)
    output = maps.new_zeros(shape)
    argmax = [maps.new_zeros(shape if options["pool_mode"] == 0 else 0) for _ in "yx"]
    ext.roi_align_forward(maps, rois, output, *argmax, **options)
    grad_maps = torch.zeros_like(maps)
    ext.roi_align_backward(grad, rois, *argmax, grad_maps, **options)
    if dtype == torch.half and options["pool_mode"] == 0:
        grad_maps = grad_maps.sum((2, 3))  # in half, several samples are the maximum
    output = output.clamp(min=-1)  # -10000 is the maximum of no samples
    return Result(
        torch.zeros(0), [output, grad_maps], 1e-5 if dtype == torch.float else 0.03
    )


class Convolution(NamedTuple):
    """Inputs of a deformable convolution."""

    maps: Tensor
    offset: Tensor
    mask: Tensor
    weight: Tensor
    bias: Tensor
    grad: Tensor
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: dict[str, int]


def convolution(draw: Draw) -> Convolution:
    images, groups, parts = draw.choice(1, 2), draw.choice(1, 2), draw.choice(1, 2)
    channels, out = 2 * draw.integer(1, 2), 2 * draw.integer(1, 2)
    kernel, stride, padding, dilation = (
        (draw.integer(low, high), draw.integer(low, high))
        for low, high in ((1, 3), (1, 2), (0, 2), (1, 2))
    )
    size, out_size = [], []
    for axis in range(2):
        needed = dilation[axis] * (kernel[axis] - 1) + 1
        size.append(draw.integer(needed, needed + 5))
        rest = size[axis] + 2 * padding[axis] - needed
        out_size.append(rest // stride[axis] + 1)
    taps = kernel[0] * kernel[1]
    reach = draw.choice(0.0, 1.0, 4.0)
    offset = draw.uniform(images, parts * taps * 2, *out_size, low=-1) * reach
    if draw.choice(True, False, False):
        offset = offset.round()  # where bilinear weights have two slopes
    dtype = draw.choice(*[torch.float] * 5, torch.half)
    return Convolution(
        draw.uniform(images, channels, *size, low=-1).to(dtype),
        offset.to(dtype),
        draw.uniform(images, parts * taps, *out_size).to(dtype),
        draw.uniform(out, channels // groups, *kernel, low=-1).to(dtype),
        draw.uniform(out, low=-1).to(dtype),
        draw.uniform(images, out, *out_size, low=-1).to(dtype),
        kernel,
        stride,
        padding,
        dilation,
        dict(group=groups, deformable_group=parts),
    )


def deform_conv(ext, seed: int) -> Result:
    case = convolution(Draw(4, seed))
    maps, offset, weight, grad = case.maps, case.offset, case.weight, case.grad
    options = dict(im2col_step=len(maps), **case.groups)
    for name, (y, x) in dict(
        k=case.kernel, d=case.stride, pad=case.padding, dilation=case.dilation
    ).items():
        options |= {f"{name}H": y, f"{name}W": x}
    buffers = [maps.new_empty(0), maps.new_empty(0)]
    output = torch.empty_like(grad)
    ext.deform_conv_forward(maps, weight, offset, output, *buffers, **options)
    grads = [torch.zeros_like(x) for x in (maps, offset, weight)]
    ext.deform_conv_backward_input(
        maps, offset, grad, *grads[:2], weight, buffers[0], **options
    )
    ext.deform_conv_backward_parameters(
        maps, offset, grad, grads[2], *buffers, scale=1, **options
    )
    return Result(torch.zeros(0), [output, *grads], tolerance(maps))


def modulated_deform_conv(ext, seed: int) -> Result:
    draw = Draw(5, seed)
    case = convolution(draw)
    maps, offset, mask = case.maps, case.offset, case.mask
    with_bias = draw.choice(True, False)
    bias = case.bias if with_bias else case.bias[:0]
    options = dict(with_bias=with_bias, **case.groups)
    for name, (y, x) in dict(
        kernel=case.kernel,
        stride=case.stride,
        pad=case.padding,
        dilation=case.dilation,
    ).items():
        options |= {f"{name}_h": y, f"{name}_w": x}
    ones, columns = maps.new_empty(0), maps.new_empty(0)
    output = torch.empty_like(case.grad)
    ext.modulated_deform_conv_forward(
        maps, case.weight, bias, ones, offset, mask, output, columns, **options
    )
    inputs = (maps, case.weight, bias, offset, mask)
    grads = [torch.zeros_like(x) for x in inputs]
    ext.modulated_deform_conv_backward(
        *inputs[:3], ones, offset, mask, columns, *grads, case.grad, **options
    )
    return Result(torch.zeros(0), [output, *grads], tolerance(maps))


def tolerance(maps: Tensor) -> float:
    return 1e-5 if maps.dtype == torch.float else 0.03


OPERATORS: dict[str, Callable[..., Result]] = dict(
    nms=nms,
    softnms=softnms,
    roi_align=roi_align,
    deform_conv=deform_conv,
    modulated_deform_conv=modulated_deform_conv,
)
