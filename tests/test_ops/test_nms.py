import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import mmareaaware_ops.ext
from mmareaaware_ops import nms as module
from mmareaaware_ops.nms import PAIRS, nms

from .cases import NUM_CASES, OPERATORS


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements of any tensor that an operation returned."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_small_blocks_change_nothing(monkeypatch):
    run = OPERATORS["nms"]
    expected = [run(mmareaaware_ops.ext, seed) for seed in range(0, NUM_CASES, 20)]
    monkeypatch.setattr(module, "FIRST_BLOCK", 3)
    monkeypatch.setattr(module, "LAST_BLOCK", 10)
    monkeypatch.setattr(module, "PAIRS", 50)
    for seed, result in zip(range(0, NUM_CASES, 20), expected, strict=True):
        assert run(mmareaaware_ops.ext, seed).exact.equal(result.exact)


@pytest.mark.parametrize("spread", [0.0, 1.0, 600.0])
def test_no_matrix_of_all_pairs(spread):
    generator = torch.Generator().manual_seed(0)
    number = 20_000
    corner = torch.rand(number, 2, generator=generator) * spread
    boxes = torch.cat([corner, corner + 50], 1)
    with LargestTensor() as largest:
        kept = nms(boxes, torch.rand(number, generator=generator), 0.7, 0)
    assert kept.numel()
    assert largest.numel <= 5 * (PAIRS + number)  # five columns for each pair


def test_chain_of_boxes():
    """Each overlaps the next one too much: every second one stays."""
    start = torch.arange(3000.0)
    boxes = torch.stack([start, start * 0, start + 4, start * 0 + 4], 1)  # IoU 0.6
    kept = nms(boxes, -start, 0.5, 0)
    assert kept.equal(torch.arange(0, 3000, 2))


def test_threshold_is_a_float():
    """0.6 as a float is more than 3 / 5 as a double, and equal to it as a float."""
    boxes = torch.tensor([[0.0, 0, 4, 1], [1, 0, 5, 1]])  # IoU 3 / 5
    scores = torch.tensor([2.0, 1])
    assert nms(boxes, scores, 0.6, 0).tolist() == [0, 1]
    assert nms(boxes, scores, 0.5999, 0).tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double])
def test_other_dtypes(dtype):
    boxes = torch.tensor([[0.0, 0, 8, 8], [1, 0, 9, 8], [20, 0, 28, 8]], dtype=dtype)
    scores = torch.tensor([0.5, 0.75, 0.25], dtype=dtype)
    assert nms(boxes, scores, 0.5, 0).tolist() == [1, 2]


def test_negative_threshold():
    with pytest.raises(ValueError, match=r"-0\.5"):
        nms(torch.zeros(1, 4), torch.zeros(1), -0.5, 0)
