"""RoIAlign with average and max pooling, forward and backward.

Bilinear samples on a rectangular grid are separable: the samples of an RoI are
``Y · crop · Xᵀ``, where Y and X hold the weights of rows and columns of the crop of the
feature map that the RoI covers. Averages of samples are the same product with averaged
weights, so average pooling is two small matrix products for each RoI. The compiled
operator is https://arxiv.org/abs/1703.06870, ``aligned`` as in Detectron2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops_for

MAX, AVERAGE = 0, 1  # pool_mode
# Elements of the largest tensor that is made for some RoIs at a time: what fits the
# cache of a CPU's core is several times faster there, and a GPU wants more to do.
CHUNK = {"cpu": 2**18}
CHUNK_ELSEWHERE = 2**24
LOWEST = -10000  # what the maximum of no samples is in mmcv


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool features in RoIs.

    Args:
        input: (B, C, H, W) feature map.
        rois: (N, 5) image, x1, y1, x2, y2 in pixels of the image.
        output: (N, C, aligned_height, aligned_width), written here.
        argmax_y: Where the maximum of each bin was sampled, written here; as large as
            the output for max pooling and not used otherwise.
        argmax_x: The same along x.
        aligned_height: Bins of an RoI along y.
        aligned_width: Bins of an RoI along x.
        spatial_scale: Cells of the feature map for each pixel of the image.
        sampling_ratio: Samples of a bin along each axis; 0: one for each cell.
        pool_mode: 0 max, 1 average.
        aligned: The centre of the first cell is at 0.5 cells instead of 0.

    Raises:
        ValueError: An RoI has a negative side, with `aligned`, on the CPU.
    """
    rois = rois.to(input.dtype)
    shape = (aligned_height, aligned_width)
    grid = _SamplingGrid(rois, shape, spatial_scale, sampling_ratio, aligned)
    torchvision = torchvision_ops_for(input)
    if torchvision and pool_mode == AVERAGE:
        output.copy_(
            torchvision.roi_align(
                input, rois, shape, spatial_scale, sampling_ratio, aligned
            )
        )
        return
    rows = input.permute(0, 2, 3, 1).reshape(-1, input.size(1))
    for chunk in grid.chunks(input):
        crops = rows.index_select(0, chunk.cells.flatten()).to(chunk.y.weight.dtype)
        crops = crops.view(*chunk.cells.shape, -1)
        if pool_mode == AVERAGE:
            output[chunk.index] = chunk.pool(crops).to(output.dtype)
        else:
            values, y, x = chunk.pool_max(crops)
            output[chunk.index] = values.to(output.dtype)
            argmax_y[chunk.index] = y
            argmax_x[chunk.index] = x


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the feature map, (B, C, H, W), into `grad_input`.

    The other arguments are those of the forward function.
    """
    rois = rois.to(grad_output.dtype)
    shape = (aligned_height, aligned_width)
    if pool_mode == MAX:
        _max_backward(grad_output, rois, argmax_y, argmax_x, grad_input)
        return
    torchvision = torchvision_ops_for(grad_input)
    if torchvision:
        # Linear in the features: any have the same gradient.
        features = torch.zeros_like(grad_input).requires_grad_()
        with torch.enable_grad():
            output = torchvision.roi_align(
                features, rois, shape, spatial_scale, sampling_ratio, aligned
            )
        grad_input.copy_(torch.autograd.grad(output, features, grad_output)[0])
        return
    num_imgs, channels, height, width = grad_input.shape
    grid = _SamplingGrid(rois, shape, spatial_scale, sampling_ratio, aligned)
    rows = None
    for chunk in grid.chunks(grad_input):
        grad = grad_output[chunk.index].to(chunk.y.weight.dtype)
        if rows is None:
            rows = grad.new_zeros(num_imgs * height * width, channels)
        rows.index_add_(0, chunk.cells.flatten(), chunk.spread(grad).flatten(0, 2))
    if rows is not None:
        grad_input.copy_(rows.view(num_imgs, height, width, -1).permute(0, 3, 1, 2))


@dataclass
class _Samples:
    """Samples along one axis: n RoIs, P bins, up to G samples in each, K cells.

    Args:
        position: (n, P, G) in cells.
        weight: (n, P, G, K) of each cell of the crop in each sample.
        exists: (n, 1, G)
    """

    position: Tensor
    weight: Tensor
    exists: Tensor

    @property
    def mean_weight(self) -> Tensor:
        """(n, P, K) of each cell in the average of a bin."""
        number = self.exists.sum(-1, keepdim=True).clamp(min=1)
        return self.weight.sum(2) / number


@dataclass
class _Chunk:
    """Some RoIs.

    Args:
        index: (n,) which ones.
        cells: (n, Ky, Kx) of the channels-last rows, (B·H·W, C), that they cover.
        y: Samples along y.
        x: Samples along x.
    """

    index: Tensor
    cells: Tensor
    y: _Samples
    x: _Samples

    def pool(self, crops: Tensor) -> Tensor:
        """Average pooling, (n, Ky, Kx, C) -> (n, C, Py, Px)."""
        pooled = _along_yx(self.y.mean_weight, self.x.mean_weight, crops)
        return pooled.permute(0, 3, 1, 2)

    def spread(self, grad: Tensor) -> Tensor:
        """Its transpose, (n, C, Py, Px) -> (n, Ky, Kx, C)."""
        of_y, of_x = self.y.mean_weight.mT, self.x.mean_weight.mT
        return _along_yx(of_y, of_x, grad.permute(0, 2, 3, 1).contiguous())

    def pool_max(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Max pooling and where, (n, Ky, Kx, C) -> three of (n, C, Py, Px)."""
        y, x = self.y, self.x
        values = _along_yx(y.weight.flatten(1, 2), x.weight.flatten(1, 2), crops)
        # (n, Py·Gy, Px·Gx, C) -> (n, C, Py, Px, Gy·Gx)
        number, bins_y, of_y = y.position.shape
        _, bins_x, of_x = x.position.shape
        values = values.view(number, bins_y, of_y, bins_x, of_x, -1)
        exists = (
            y.exists[:, :, :, None, None, None] & x.exists[:, None, None, :, :, None]
        )
        values = values.masked_fill(~exists, -torch.inf)
        values = values.permute(0, 5, 1, 3, 2, 4).flatten(4)
        best, where = values.max(-1)
        at_y = y.position[:, None, :, None].expand(*where.shape, -1)
        at_x = x.position[:, None, None].expand(*where.shape, -1)
        at_y = at_y.gather(-1, (where // of_x)[..., None])[..., 0]
        at_x = at_x.gather(-1, (where % of_x)[..., None])[..., 0]
        found = best > LOWEST
        return (
            best.where(found, LOWEST),
            at_y.where(found, -1),
            at_x.where(found, -1),
        )


def _along_yx(of_y: Tensor, of_x: Tensor, maps: Tensor) -> Tensor:
    """(n, Q, K) and (n, R, L) times (n, K, L, C) -> (n, Q, R, C)."""
    number, _, columns, channels = maps.shape
    maps = of_y @ maps.reshape(number, -1, columns * channels)
    return of_x[:, None] @ maps.view(number, -1, columns, channels)


class _SamplingGrid:
    """Where RoIs are sampled, rounded in their dtype as the compiled operator does."""

    def __init__(
        self,
        rois: Tensor,
        shape: tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
    ) -> None:
        self.image = rois[:, 0].long()
        self.shape = shape
        scale = rois.new_tensor(spatial_scale)
        corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
        self.start = corners[:, [1, 0]]  # y, x
        self.size = corners[:, [3, 2]] - self.start
        if not aligned:
            self.size = self.size.clamp(min=1)
        elif rois.device.type == "cpu" and (self.size < 0).any():
            first = rois[(self.size < 0).any(1)][0].tolist()
            raise ValueError(
                f"an RoI (image, x1, y1, x2, y2) has a negative side: {first}"
            )
        self.bin = self.size / rois.new_tensor(shape)
        if sampling_ratio > 0:
            self.number = torch.full_like(self.image, sampling_ratio)
            self.number = self.number[:, None].expand(-1, 2)
        else:
            self.number = self.bin.ceil().long().clamp(min=0)  # (N, 2)

    def chunks(self, maps: Tensor) -> Iterator[_Chunk]:
        """RoIs of similar size on maps, (B, C, H, W), that are sampled together."""
        if not len(self.image):
            return
        length = self.start.new_tensor(maps.shape[2:])
        first = self.start.minimum(length - 1).clamp(min=0).floor()
        last = (self.start + self.size).minimum(length - 1).clamp(min=0).floor()
        cells = (last - first).long() + 2  # (N, 2): one more for the right neighbour
        of_axis = (self.number * cells).amax(1) * max(self.shape)
        elements = torch.maximum(cells.prod(1) * maps.size(1), of_axis)
        order = elements.argsort()
        limits = torch.stack([cells, self.number], 2)[order].cpu()
        most = CHUNK.get(maps.device.type, CHUNK_ELSEWHERE)
        for part in _runs(elements[order].tolist(), most):
            index = order[part]
            (cells_y, number_y), (cells_x, number_x) = limits[part].amax(0).tolist()
            y, rows = self._samples(0, index, first, cells_y, number_y, maps.size(2))
            x, columns = self._samples(1, index, first, cells_x, number_x, maps.size(3))
            rows = rows + self.image[index, None] * maps.size(2)
            flat = rows[:, :, None] * maps.size(3) + columns[:, None]
            yield _Chunk(index, flat, y, x)

    def _samples(
        self,
        axis: int,
        index: Tensor,
        first: Tensor,
        cells: int,
        most: int,
        length: int,
    ) -> tuple[_Samples, Tensor]:
        """Samples along an axis, and the cells of the crops there, (n, K)."""
        start, bin_size = self.start[index, axis, None, None], self.bin[index, axis]
        bin_size = bin_size[:, None, None]  # (n, 1, 1)
        number = self.number[index, axis, None, None]
        bins = torch.arange(self.shape[axis], device=index.device)[:, None]
        step = torch.arange(max(most, 1), device=index.device)
        place = (step + 0.5).to(start.dtype) * bin_size / number.clamp(min=1)
        position = start + bins * bin_size + place  # (n, P, G)
        exists = step < number
        inside = (position >= -1) & (position <= length) & exists
        wide = torch.promote_types(position.dtype, torch.float)
        where = first[index, axis, None].to(wide) + torch.arange(
            cells, device=index.device
        )  # (n, K)
        nearest = position.to(wide).clamp(0, length - 1)[..., None]
        weight = 1 - (nearest - where[:, None, None]).abs_()  # (n, P, G, K)
        weight = weight.clamp_(min=0) * inside[..., None]
        return _Samples(position, weight, exists), where.long().clamp(max=length - 1)


def _runs(sizes: list[int], most: int) -> Iterator[slice]:
    """Slices of ascending sizes whose number times the largest is `most` at most."""
    begin = 0
    for end in range(1, len(sizes) + 1):
        if end == len(sizes) or sizes[end] * (end + 1 - begin) > most:
            yield slice(begin, end)
            begin = end


def _max_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
) -> None:
    """Each gradient goes to the four cells around the sample that was the maximum."""
    _, channels, height, width = grad_input.shape
    wide = torch.promote_types(grad_output.dtype, torch.float)
    y, x = argmax_y.to(wide), argmax_x.to(wide)
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width) & (y != -1)
    grad = grad_output.to(wide) * inside
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    channel = torch.arange(channels, device=y.device)[:, None, None]
    plane = (rois[:, 0].long()[:, None, None, None] * channels + channel) * height
    total = grad.new_zeros(grad_input.numel())
    for row in (y.floor(), y.floor() + 1):
        for column in (x.floor(), x.floor() + 1):
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            row_index = row.long().clamp(max=height - 1)
            cell = (plane + row_index) * width + column.long().clamp(max=width - 1)
            total.index_add_(0, cell.flatten(), (grad * weight).flatten())
    grad_input.copy_(total.view_as(grad_input))
