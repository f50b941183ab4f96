import pytest
import torch

from mmareaaware.models.losses import SparseLogits, SparseTargets


def read(logits):
    nobody = torch.zeros(0, dtype=torch.long)
    targets = SparseTargets(nobody, nobody, nobody, logits.new_zeros(0))
    return SparseLogits.read(logits, targets, maxima=True)


@pytest.mark.parametrize("classes", [1, 2, 80])
@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maxima_are_those_of_torch(classes, channels_first, dtype):
    torch.manual_seed(0)
    logits = torch.randn(2, 105, classes, dtype=dtype)
    logits[0] = logits[0].round()  # classes that tie
    logits[1, :3] = float("-inf")
    if channels_first:
        logits = logits.transpose(1, 2).contiguous().transpose(1, 2)
    logits.requires_grad_()

    maxima = read(logits).maxima
    expected = logits.max(-1).values
    assert torch.equal(maxima, expected)

    upstream = torch.randn(2, 105, dtype=dtype)
    (gradient,) = torch.autograd.grad(maxima, logits, upstream)
    (expected,) = torch.autograd.grad(expected, logits, upstream)
    assert torch.equal(gradient, expected)


def test_maximum_of_nan_is_nan():
    logits = torch.tensor([[[0.0, float("nan"), 1.0]]])
    assert read(logits).maxima.isnan().all()
