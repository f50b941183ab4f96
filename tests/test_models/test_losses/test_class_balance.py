import pytest
import torch

from mmareaaware.models.losses import (
    EffectiveNumberWeight,
    InverseFrequencyWeight,
    LDAMMargin,
)

COUNTS = [1000, 100, 10, 1]


def test_effective_number_formula():
    raw = torch.tensor([(1 - 0.99) / (1 - 0.99**n) for n in COUNTS])
    weights = EffectiveNumberWeight(beta=0.99)(COUNTS)
    torch.testing.assert_close(weights, raw / raw.mean())


def test_inverse_frequency_formula():
    raw = torch.tensor([n**-0.7 for n in COUNTS])
    weights = InverseFrequencyWeight(power=0.7)(COUNTS)
    torch.testing.assert_close(weights, raw / raw.mean())


def test_ldam_formula():
    margins = LDAMMargin(max_margin=0.4)(COUNTS)
    torch.testing.assert_close(margins, torch.tensor([0.4 * n**-0.25 for n in COUNTS]))


@pytest.mark.parametrize(
    "rule", [EffectiveNumberWeight(0.9999), InverseFrequencyWeight(1.0), LDAMMargin()]
)
def test_rarer_is_more_and_a_missing_class_is_finite(rule):
    values = rule([10**6, 50, 1, 0])
    assert values.isfinite().all()
    assert (values.diff() >= 0).all()
    assert values[2] == values[3]


@pytest.mark.parametrize("rule", [EffectiveNumberWeight(0), InverseFrequencyWeight(0)])
def test_neutral(rule):
    assert torch.equal(rule(COUNTS), torch.ones(4))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EffectiveNumberWeight(beta=1), r"beta must be in \[0, 1\), got 1"),
        (
            lambda: InverseFrequencyWeight(power=-1),
            "power must not be negative, got -1",
        ),
        (lambda: LDAMMargin(max_margin=-1), "max_margin must not be negative, got -1"),
    ],
)
def test_wrong_values_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
