"""Deformable convolutions and attention: gradients, and mmcv's modules around them."""

import pytest
import torch
from mmcv.ops import DeformConv2dPack, deform_conv2d, modulated_deform_conv2d
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

from mmareaaware_ops import deform_attn
from mmareaaware_ops.deform_conv import bilinear_samples


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(*shape, generator=generator, dtype=torch.double)
    return values.requires_grad_()


@pytest.mark.parametrize(("groups", "parts"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_gradcheck_v1(ours, groups, parts):
    def convolve(maps, offset, weight):
        return deform_conv2d(maps, offset, weight, 1, 1, 1, groups, parts)

    maps, weight = doubles(2, 4, 4, 3), doubles(2, 4 // groups, 2, 2, seed=2)
    offset = doubles(2, 8 * parts, 5, 4, seed=1)  # in (0, 1): no weight has a bend
    assert torch.autograd.gradcheck(convolve, (maps, offset, weight))


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("groups", "parts"), [(1, 1), (2, 2)])
def test_gradcheck_v2(ours, groups, parts, with_bias):
    def convolve(maps, offset, mask, weight, bias=None):
        return modulated_deform_conv2d(
            maps, offset, mask, weight, bias, 1, 1, 1, groups, parts
        )

    maps, weight = doubles(2, 4, 4, 3), doubles(2, 4 // groups, 2, 2, seed=2)
    offset, mask = doubles(2, 8 * parts, 5, 4, seed=1), doubles(2, 4 * parts, 5, 4)
    inputs = (maps, offset, mask, weight, *([doubles(2, seed=3)] * with_bias))
    assert torch.autograd.gradcheck(convolve, inputs)


def test_without_offsets_a_plain_convolution(ours):
    torch.manual_seed(0)
    module = DeformConv2dPack(4, 6, 3, padding=1, stride=2)  # offsets start as 0
    maps = torch.randn(2, 4, 9, 8)
    plain = torch.nn.functional.conv2d(maps, module.weight, padding=1, stride=2)
    torch.testing.assert_close(module(maps), plain)


def test_maps_of_many_cells_in_half_precision():
    """Each cell sampled at its centre is that cell: none has another's index."""
    maps = torch.arange(60.0).repeat(60, 1)[None, None, None].half()
    y, x = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    y, x = (v[None, None, None].half() for v in (y, x))
    inside = torch.ones_like(y, dtype=torch.bool)
    assert bilinear_samples(maps, y, x, inside)[0, 0, 0].equal(maps[0, 0])


def attention_inputs():
    shapes = torch.tensor([[3, 4], [2, 2]])
    value = doubles(2, 16, 2, 3)
    locations = doubles(2, 5, 2, 2, 3, 2, seed=1)
    weights = doubles(2, 5, 2, 2, 3, seed=2)
    return value, shapes, torch.tensor([0, 12]), locations, weights


@pytest.fixture(params=[False, True], ids=["", "deterministic"])
def deterministic(request, monkeypatch):
    """As on a GPU where ``torch.use_deterministic_algorithms`` was called, or not."""
    monkeypatch.setattr(deform_attn, "must_be_deterministic", lambda _: request.param)
    return request.param


def test_attention_equals_mmcv(ours, deterministic):
    value, shapes, start, locations, weights = attention_inputs()
    inputs = (value, locations, weights)
    output = MultiScaleDeformableAttnFunction.apply(
        value, shapes, start, locations, weights, 64
    )
    expected = multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    torch.testing.assert_close(output, expected)
    grad = torch.randn_like(output)
    for a, b in zip(
        torch.autograd.grad(output, inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_attention_at_and_beyond_the_border(ours, deterministic):
    value, shapes, start, locations, weights = attention_inputs()
    locations = locations * 3 - 1
    expected = multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    args = value, shapes, start, locations, weights, 64
    torch.testing.assert_close(MultiScaleDeformableAttnFunction.apply(*args), expected)


def test_attention_gradcheck(ours, deterministic):
    value, shapes, start, locations, weights = attention_inputs()

    def attend(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, shapes, start, locations, weights, 64
        )

    assert torch.autograd.gradcheck(attend, (value, locations, weights))
