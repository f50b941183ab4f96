"""bfloat16 in the forward pass; weights, gradients and what is outside stay float32."""

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

pytestmark = pytest.mark.usefixtures("on_cpu")


def wrapped(network: nn.Module, **kwargs):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    wrapper = dict(type="BFloat16OptimWrapper", optimizer=optimizer, **kwargs)
    return OPTIM_WRAPPERS.build(wrapper)


def test_only_the_forward_pass_is_in_bfloat16():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3)
    before = network.weight.detach().clone()
    images = torch.rand(2, 3, 8, 8)
    wrapper = wrapped(network)
    with wrapper.optim_context(network):
        out = network(images)
    assert out.dtype == torch.bfloat16
    assert network(images).dtype == torch.float32
    wrapper.update_params(out.float().mean())

    reference = before.bfloat16().requires_grad_()
    nn.functional.conv2d(images.bfloat16(), reference).float().mean().backward()
    updated = before - 0.5 * reference.grad.float()
    torch.testing.assert_close(network.weight.detach(), updated, rtol=0, atol=0)


def test_gradients_too_small_for_float16_arrive():
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    wrapper = wrapped(network)
    with wrapper.optim_context(network):
        loss = network(torch.full((1, 1), 1e-10)).sum()
    wrapper.backward(loss)
    assert 0.9e-10 < network.weight.grad.item() < 1.1e-10


def test_accumulates_as_its_base():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    wrapper = wrapped(network, accumulative_counts=2)
    wrapper.initialize_count_status(network, 0, 4)
    for expected in (0.0, -0.5, -0.5, -1.0):
        with wrapper.optim_context(network):
            loss = network(torch.ones(1, 1)).sum()
        wrapper.update_params(loss)
        assert network.weight.item() == expected
