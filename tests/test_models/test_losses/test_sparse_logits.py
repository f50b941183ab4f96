import pytest
import torch

from mmareaaware.models.losses import AreaAwareBCELoss, SparseLogits, SparseTargets

NOBODY = torch.zeros(0, dtype=torch.long)
NOTHING = SparseTargets(NOBODY, NOBODY, NOBODY, torch.zeros(0))


def read(logits):
    return SparseLogits.read(logits, NOTHING, maxima=True)


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


def test_class_weights_must_be_those_of_the_loss():
    loss = AreaAwareBCELoss(area_weight=None, class_weight=[1.0, 2.0])
    logits = torch.zeros(1, 3, 2)
    weights = loss.class_weights
    condensed = SparseLogits.read(logits, NOTHING, class_weights=weights)
    expected = 3 * (1 + 2) * torch.tensor(2.0).log()
    torch.testing.assert_close(loss(condensed, NOTHING), expected)
    with pytest.raises(ValueError, match="other class weights"):
        loss(read(logits), NOTHING)
