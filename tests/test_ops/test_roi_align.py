import pytest
import torch
from mmcv.ops import roi_align

import mmareaaware_ops.ext
from mmareaaware_ops import roi_align as module

from .cases import NUM_CASES, OPERATORS

ROIS = torch.tensor(
    [
        [0, 1.3, 2.1, 9.4, 7.7],
        [1, -3.2, 0.4, 4.5, 20.9],  # partly outside
        [1, 30, 30, 40, 40],  # outside
        [0, 5, 5, 5, 5],  # no area
    ],
    dtype=torch.double,
)


def features(channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, 6, 7, generator=generator, dtype=torch.double)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("pool_mode", ["avg", "max"])
def test_gradcheck(ours, pool_mode, sampling_ratio, aligned):
    def pool(maps):
        return roi_align(maps, ROIS, (3, 2), 0.5, sampling_ratio, pool_mode, aligned)

    assert torch.autograd.gradcheck(pool, features().requires_grad_())


def test_constant_features_stay_constant(ours):
    """Inside the map, each bin is an average: of ones, one."""
    maps = torch.ones(2, 3, 6, 7)
    pooled = roi_align(maps, ROIS[:1].float(), (3, 2), 0.5, 0, "avg", True)
    torch.testing.assert_close(pooled, torch.ones(1, 3, 3, 2))


def test_one_roi_at_a_time_changes_nothing(monkeypatch):
    run = OPERATORS["roi_align"]
    expected = [run(mmareaaware_ops.ext, seed) for seed in range(0, NUM_CASES, 10)]
    monkeypatch.setattr(module, "CHUNK", {"cpu": 1})
    for seed, result in zip(range(0, NUM_CASES, 10), expected, strict=True):
        for a, b in zip(
            run(mmareaaware_ops.ext, seed).close, result.close, strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_strides_do_not_matter(ours):
    maps = features(4)
    expected = roi_align(maps, ROIS, 3, 0.5, 0, "avg", True)
    strided = maps.to(memory_format=torch.channels_last)
    assert roi_align(strided, ROIS, 3, 0.5, 0, "avg", True).equal(expected)
    sliced = torch.cat([maps, maps], 1)[:, :4]
    assert roi_align(sliced, ROIS, 3, 0.5, 0, "avg", True).equal(expected)


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_low_precision(ours, dtype):
    maps = features().to(dtype).requires_grad_()
    pooled = roi_align(maps, ROIS.to(dtype), 3, 0.5, 0, "avg", True)
    pooled.sum().backward()
    expected = roi_align(features(), ROIS.to(dtype).double(), 3, 0.5, 0, "avg", True)
    assert pooled.dtype == maps.grad.dtype == dtype
    torch.testing.assert_close(pooled.double(), expected, rtol=0.05, atol=0.05)


def test_negative_side(ours):
    rois = torch.tensor([[0, 8.0, 2, 4, 6]])
    with pytest.raises(ValueError, match=r"negative side: \[0\.0, 8\.0"):
        roi_align(features().float(), rois, 3, 0.5, 0, "avg", True)
