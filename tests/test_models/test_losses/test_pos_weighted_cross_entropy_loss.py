import math

import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss
from torch.nn.functional import log_softmax, logsigmoid

from mmareaaware.models import PosWeightedCrossEntropyLoss

C = 4
# Both ends of the foreground, and background
LABELS = torch.tensor([0, C - 1, C, C, 1, C])
WEIGHTS = torch.tensor([1.0, 0.5, 1.0, 0.0, 2.0, 1.0])


def logits(sigmoid, device, number=6):
    generator = torch.Generator().manual_seed(0)
    channels = 1 if sigmoid else C + 1
    values = torch.randn(number, channels, generator=generator)
    return values.to(device).requires_grad_()


def labels(sigmoid, device):
    """The RPN's classes: 0 foreground, 1 background."""
    return ((LABELS == C).long() if sigmoid else LABELS).to(device)


def loss_and_grad(loss, sigmoid, device, *args, **kwargs):
    x = logits(sigmoid, device)
    value = loss(x, labels(sigmoid, device), *args, **kwargs)
    value.sum().backward()
    return value.detach(), x.grad


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("pos_weight", [1.0, 3.0])
def test_equals_the_class_weight_of_mmdet_bit_for_bit(
    pos_weight, sigmoid, weight, reduction, device
):
    weight = None if weight is None else weight.to(device)
    class_weight = [pos_weight] if sigmoid else [pos_weight] * C + [1.0]
    theirs = CrossEntropyLoss(
        use_sigmoid=sigmoid, class_weight=None if pos_weight == 1 else class_weight
    )
    ours = PosWeightedCrossEntropyLoss(pos_weight, use_sigmoid=sigmoid)
    for avg_factor in (None, 7.0):
        if avg_factor and reduction != "mean":
            continue
        args = (weight, avg_factor, reduction)
        for a, b in zip(
            loss_and_grad(ours, sigmoid, device, *args),
            loss_and_grad(theirs, sigmoid, device, *args),
            strict=True,
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("sigmoid", [True, False])
def test_formula(sigmoid, device):
    """In float64: foreground counts five times, the sum is divided by the factor."""
    target, weight = LABELS.to(device), WEIGHTS.double().to(device)
    x = logits(sigmoid, device).detach().double()
    if sigmoid:
        is_fg = target < C
        terms = torch.where(is_fg, -5 * logsigmoid(x[:, 0]), -logsigmoid(-x[:, 0]))
    else:
        picked = -log_softmax(x, 1).gather(1, target[:, None])[:, 0]
        terms = torch.where(target < C, 5.0, 1.0).double() * picked
    expected = 2 * (terms * weight).sum() / 3
    loss = PosWeightedCrossEntropyLoss(5.0, use_sigmoid=sigmoid, loss_weight=2.0)
    value = loss(x, labels(sigmoid, device), weight, avg_factor=3)
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=0)


def test_average_by_weight(device):
    x, target, weight = logits(False, device), LABELS.to(device), WEIGHTS.to(device)
    loss = PosWeightedCrossEntropyLoss(3.0, avg_by_weight=True)
    terms = loss(x, target, weight, reduction_override="none")
    total = (weight * torch.where(target < C, 3.0, 1.0)).sum()
    value = loss(x, target, weight, avg_factor=len(target))
    torch.testing.assert_close(value, terms.sum() / total)
    # As torch's own weighted mean does
    class_weights = torch.tensor([3.0] * C + [1.0], device=device)
    expected = torch.nn.functional.cross_entropy(x, target, class_weights)
    torch.testing.assert_close(loss(x, target), expected)


def test_class_weights_multiply(device):
    given = [0.5, 1.0, 2.0, 4.0]
    x, target = logits(False, device), LABELS.to(device)
    ours = PosWeightedCrossEntropyLoss(3.0, class_weight=given)(x, target)
    theirs = CrossEntropyLoss(class_weight=[1.5, 3.0, 6.0, 12.0, 1.0])(x, target)
    assert torch.equal(ours, theirs)
    with_bg = PosWeightedCrossEntropyLoss(3.0, class_weight=[*given, 0.1])(x, target)
    theirs = CrossEntropyLoss(class_weight=[1.5, 3.0, 6.0, 12.0, 0.1])(x, target)
    assert torch.equal(with_bg, theirs)


@pytest.mark.parametrize("avg_by_weight", [True, False])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_ignored_samples_stay_ignored(sigmoid, avg_by_weight, device):
    options = dict(use_sigmoid=sigmoid, avg_by_weight=avg_by_weight)
    loss = PosWeightedCrossEntropyLoss(5.0, **options)
    x, target = logits(sigmoid, device), labels(sigmoid, device).clone()
    target[[0, 2]] = 255
    factor = 4.0
    value = loss(x, target, avg_factor=factor, ignore_index=255)
    value.backward()
    assert not x.grad[[0, 2]].any()
    kept = [1, 3, 4, 5]
    expected = loss(x[kept], labels(sigmoid, device)[kept], avg_factor=factor)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("avg_by_weight", [True, False])
@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("case", ["empty", "no weight", "all ignored"])
def test_nothing_to_learn_is_finite(sigmoid, avg_by_weight, case, device):
    loss = PosWeightedCrossEntropyLoss(
        5.0, use_sigmoid=sigmoid, avg_by_weight=avg_by_weight
    )
    number = 0 if case == "empty" else len(LABELS)
    x = logits(sigmoid, device, number)
    target = labels(sigmoid, device)[:number]
    if case == "all ignored":
        target = torch.full_like(target, 255)
    weight = torch.zeros(number, device=device) if case == "no weight" else None
    value = loss(x, target, weight, ignore_index=255)
    value.backward()
    assert value == 0
    assert not x.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(pos_weight=0.0), "pos_weight must be positive, got 0.0"),
        (dict(pos_weight=float("nan")), "pos_weight must be positive, got nan"),
        (
            dict(class_weight=[1, -1]),
            r"class_weight must be finite and not negative, got \[1, -1\]",
        ),
        (dict(use_mask=True), "use_mask=True"),
        (dict(avg_by_weight=True, reduction="sum"), "got reduction='sum'"),
    ],
)
def test_wrong_options_fail_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        PosWeightedCrossEntropyLoss(**options)


def test_class_weights_that_do_not_fit():
    loss = PosWeightedCrossEntropyLoss(class_weight=[1.0, 2.0])
    with pytest.raises(ValueError, match="2 entries for 4 foreground classes"):
        loss(logits(False, "cpu"), LABELS)


def test_a_sum_of_weights_below_one_is_one():
    logits, labels = torch.zeros(2, 4), torch.tensor([0, 3])
    loss = PosWeightedCrossEntropyLoss(2.0, avg_by_weight=True)
    value = loss(logits, labels, torch.tensor([0.1, 0.2]))
    assert value.item() == pytest.approx((2 * 0.1 + 0.2) * math.log(4))
