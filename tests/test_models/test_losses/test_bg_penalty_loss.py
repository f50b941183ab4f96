import math

import pytest
import torch

from mmareaaware.models.losses import BgPenaltyLoss, bg_penalty_loss

B, N, C = 2, 11, 3


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(B, N, C, generator=generator, dtype=torch.float64) * 3
    targets = torch.rand(B, N, C, generator=generator, dtype=torch.float64)
    targets *= torch.rand(B, N, 1, generator=generator) < 0.3
    targets[0, 0] = 2e-7  # sums to less than 1e-6: background
    return logits.to(dtype), targets.to(dtype)


def reference(logits, targets, mode, gamma=2.0):
    """Penalties of the background priors, one at a time, in Python's float64."""
    penalties = []
    for z, t in zip(
        logits.view(-1, C).tolist(), targets.view(-1, C).tolist(), strict=True
    ):
        if sum(t) < 1e-6:
            p = [1 / (1 + math.exp(-x)) for x in z]
            penalties.append(
                max(p) if mode == "max" else sum(q**gamma * -math.log(1 - q) for q in p)
            )
    return penalties


@pytest.mark.parametrize("normalizer", ["positives", "background"])
@pytest.mark.parametrize("mode", ["max", "focal"])
def test_equals_the_formula(mode, normalizer):
    data = inputs()
    penalties = reference(*data, mode)
    loss, stats = bg_penalty_loss(
        *data, 1.5, mode=mode, normalizer=normalizer, return_stats=True
    )
    mean = sum(penalties) / len(penalties)
    target_sum = sum(data[1].flatten().tolist())
    assert target_sum > 1
    number = {"positives": target_sum, "background": len(penalties)}[normalizer]
    assert loss.item() == pytest.approx(0.5 * 1.5 * sum(penalties) / number, rel=1e-9)
    assert stats["bg_penalty_mean"].item() == pytest.approx(mean, rel=1e-9)
    assert stats["bg_penalty_max"].item() == pytest.approx(max(penalties), rel=1e-9)
    assert stats["bg_penalty_min"].item() == pytest.approx(min(penalties), rel=1e-9)


def test_focal_exponent():
    data = inputs()
    penalties = reference(*data, "focal", gamma=3.0)
    loss = bg_penalty_loss(
        *data, 1.0, mode="focal", gamma=3.0, loss_weight=1.0, avg_factor=7.0
    )
    assert loss.item() == pytest.approx(sum(penalties) / 7, rel=1e-9)


@pytest.mark.parametrize("mode", ["max", "focal"])
def test_the_two_forms_are_one_at_another_lambda(mode):
    """λ' = λ · S / N_bg: docs/results.md has the λ of the mean over the background."""
    logits, targets = inputs()
    share = targets.sum() / (targets.sum(-1) < 1e-6).sum()
    old = bg_penalty_loss(logits, targets, 1000.0, mode=mode, normalizer="background")
    new = bg_penalty_loss(logits, targets, 1000.0 * share.item(), mode=mode)
    torch.testing.assert_close(new, old)


@pytest.mark.parametrize("normalizer", ["positives", "background"])
@pytest.mark.parametrize("mode", ["max", "focal"])
def test_ignored_priors_are_as_if_they_were_not_there(mode, normalizer):
    logits, targets = inputs()
    ignored = (targets.sum(-1) < 1e-6) & (torch.arange(N) % 2 == 0)
    assert ignored.any(1).all()
    settings = dict(mode=mode, normalizer=normalizer, return_stats=True)
    loss, stats = bg_penalty_loss(logits, targets, ignored=ignored, **settings)
    kept = logits[~ignored][None], targets[~ignored][None]
    expected, expected_stats = bg_penalty_loss(*kept, **settings)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(stats, expected_stats)


def test_focal_form_weighs_confident_mistakes_most():
    logits = torch.tensor([[[-2.0], [2.0]]], requires_grad=True)
    bg_penalty_loss(logits, torch.zeros(1, 2, 1), mode="focal").backward()
    timid, confident = logits.grad.flatten()
    p = torch.sigmoid(torch.tensor([-2.0, 2.0]))
    assert confident / timid > p[1] / p[0]  # more than plain BCE's gradient, p


@pytest.mark.parametrize("mode", ["max", "focal"])
def test_gradcheck(mode):
    logits, targets = inputs()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: bg_penalty_loss(z, targets, mode=mode), logits
    )


@pytest.mark.parametrize("mode", ["max", "focal"])
@pytest.mark.parametrize("logit", [100.0, -100.0])
def test_extreme_logits_are_finite(mode, logit):
    z = torch.full((B, N, C), logit, requires_grad=True)
    loss = bg_penalty_loss(z, torch.zeros(B, N, C), mode=mode)
    loss.backward()
    assert loss.isfinite()
    assert loss >= 0
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("mode", ["max", "focal"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(mode, dtype):
    logits, targets = inputs(torch.float32)
    z = logits.to(dtype)
    value = bg_penalty_loss(z, targets, mode=mode)
    assert value.dtype == torch.float32
    assert value == bg_penalty_loss(z.float(), targets, mode=mode)


@pytest.mark.parametrize("mode", ["max", "focal"])
def test_foreground_gets_no_gradient(mode):
    logits, targets = inputs()
    logits.requires_grad_()
    bg_penalty_loss(logits, targets, mode=mode).backward()
    bg = targets.sum(-1) < 1e-6
    assert (logits.grad[~bg] == 0).all()
    assert (logits.grad[bg].sum(-1) > 0).all()


@pytest.mark.parametrize("mode", ["max", "focal"])
def test_no_background_is_zero(mode):
    logits = torch.randn(B, N, C, requires_grad=True)
    targets = torch.full((B, N, C), 0.1)
    loss, stats = bg_penalty_loss(logits, targets, mode=mode, return_stats=True)
    loss.backward()
    assert loss == 0
    assert all(value == 0 for value in stats.values())
    assert (logits.grad == 0).all()


def test_target_sums_do_as_well():
    logits, targets = inputs()
    assert bg_penalty_loss(logits, targets) == bg_penalty_loss(logits, targets.sum(-1))


def test_lambda_zero_touches_nothing():
    logits = torch.full((B, N, C), float("nan"), requires_grad=True)
    loss, stats = bg_penalty_loss(logits, torch.zeros(B, N, C), 0.0, return_stats=True)
    assert loss == 0
    assert not loss.requires_grad
    assert stats == {}


def test_module_equals_function_and_follows_lambda():
    data = inputs()
    module = BgPenaltyLoss(mode="focal", lambda_bg=0.5, gamma=1.5, loss_weight=0.3)
    settings = dict(mode="focal", gamma=1.5, loss_weight=0.3)
    assert module(*data) == bg_penalty_loss(*data, 0.5, **settings)
    module.lambda_bg = 2.0
    assert module(*data) == bg_penalty_loss(*data, 2.0, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(lambda_bg=-1.0), "lambda_bg must not be negative, got -1.0"),
        (dict(lambda_bg=math.nan), "lambda_bg must not be negative, got nan"),
        (dict(normalizer="mean"), "normalizer must be one of .* got 'mean'"),
        (dict(mode="mean"), "mode must be one of .* got 'mean'"),
        (dict(gamma=-2), "gamma must not be negative, got -2"),
        (dict(gamma=math.nan), "gamma must not be negative, got nan"),
        (dict(loss_weight=-0.5), "loss_weight must not be negative, got -0.5"),
    ],
)
def test_wrong_values_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        BgPenaltyLoss(**settings)


def test_a_negative_lambda_cannot_be_set_later():
    with pytest.raises(TypeError, match="lambda_bg must be a number, got '5'"):
        BgPenaltyLoss(lambda_bg="5")
    with pytest.raises(ValueError, match=r"lambda_bg must not be negative, got -0\.1"):
        BgPenaltyLoss().lambda_bg = -0.1


def test_next_to_no_targets_are_one():
    logits, targets = torch.zeros(2, 5, 3), torch.zeros(2, 5, 3)
    targets[0, 0, 0] = 0.25
    assert bg_penalty_loss(logits, targets, 2.0, loss_weight=0.5) == 9 * 0.5
