"""The compiled focal loss runs on GPUs only: here, its formula is the reference."""

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

NUM_CASES = 1000


def case(seed: int, dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)
    number, classes = seed % 7, seed % 5 + 1
    logits = torch.randn(number, classes, generator=generator, dtype=dtype) * 4
    target = torch.randint(classes + 1, (number,), generator=generator)
    gamma, alpha = [(2.0, 0.25), (0.0, 0.5), (1.5, 0.75)][seed % 3]
    weight = torch.rand(classes, generator=generator, dtype=dtype)
    return logits, target, gamma, alpha, weight


def formula(logits, target, gamma, alpha, weight=None):
    """Of the paper, for each logit; weights by the target's class, background 1."""
    p = logits.sigmoid()
    of_class = torch.nn.functional.one_hot(target, logits.size(1) + 1)[:, :-1]
    positive = -alpha * (1 - p) ** gamma * p.log()
    negative = -(1 - alpha) * p**gamma * (1 - p).log()
    loss = torch.where(of_class.bool(), positive, negative)
    if weight is None:
        return loss
    return loss * torch.cat([weight, weight.new_ones(1)])[target][:, None]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_equals_formula(ours, reduction, weighted):
    for seed in range(NUM_CASES):
        logits, target, gamma, alpha, weight = case(seed)
        weight = weight if weighted else None
        logits.requires_grad_()
        args = (target, gamma, alpha, weight)
        if reduction == "mean" and not len(logits):
            continue  # 0 / 0, in mmcv's Python
        loss = sigmoid_focal_loss(logits, *args, reduction)
        expected = formula(logits, *args)
        if reduction != "none":
            expected = expected.sum() / (1 if reduction == "sum" else len(logits))
        torch.testing.assert_close(loss, expected)
        (grad,) = torch.autograd.grad(loss.sum(), logits)
        (expected_grad,) = torch.autograd.grad(expected.sum(), logits)
        torch.testing.assert_close(grad, expected_grad)


def test_equals_mmdet(ours):
    logits, target, gamma, alpha, _ = case(4 + 5 * 7 * 3, torch.float)
    one_hot = torch.nn.functional.one_hot(target, logits.size(1) + 1)[:, :-1]
    theirs = py_sigmoid_focal_loss(
        logits, one_hot, gamma=gamma, alpha=alpha, reduction="none"
    )
    torch.testing.assert_close(
        sigmoid_focal_loss(logits, target, gamma, alpha, None, "none"), theirs
    )


def test_gradcheck(ours):
    logits, target, gamma, alpha, weight = case(6 + 7 * 5 * 3)

    def loss(x):
        return sigmoid_focal_loss(x, target, gamma, alpha, weight, "sum")

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float])
def test_extreme_logits(ours, dtype):
    logits = torch.tensor([[-100.0, 100], [100, -100]], dtype=dtype).requires_grad_()
    target = torch.tensor([0, 2])
    loss = sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
    loss.sum().backward()
    expected = torch.tensor([[25.0, 75], [75, 0]], dtype=dtype)
    torch.testing.assert_close(loss, expected)
    assert logits.grad.isfinite().all()
