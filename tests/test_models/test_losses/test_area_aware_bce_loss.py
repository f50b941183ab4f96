import math
from itertools import product

import pytest
import torch
from mmengine.registry import MODELS

from mmareaaware.models.losses import (
    AreaAwareBCELoss,
    BoxScaleWeight,
    Positives,
    PowerAreaWeight,
    area_aware_bce_loss,
)

B, N, C = 2, 13, 4


def inputs(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, N, C, generator=generator, dtype=torch.float64) * 3
    targets = torch.rand(B, N, C, generator=generator, dtype=torch.float64)
    targets = targets * (torch.rand(B, N, C, generator=generator) < 0.3)
    areas = torch.exp(torch.rand(B, N, generator=generator, dtype=torch.float64) * 9)
    return logits.to(dtype), targets.to(dtype), areas.to(dtype)


def reference(logits, targets, areas, **p):
    """The formula of the loss, one element at a time, in Python's float64."""
    z, t, a = logits.tolist(), targets.tolist(), areas.tolist()
    weights = {}
    for b, i in product(range(B), range(N)):
        if sum(t[b][i]) >= 1e-6 and p.get("area_weight"):
            weights[b, i] = min(max((1024 / a[b][i]) ** 0.5, 1.0), 4.0)
    if weights and p.get("normalize", "mean") == "mean":
        mass = {k: sum(t[k[0]][k[1]]) for k in weights}
        mean = sum(weights[k] * mass[k] for k in weights) / sum(mass.values())
        weights = {k: w / mean for k, w in weights.items()}
    strength = p.get("strength", 1.0)
    total = 0.0
    for b, i, c in product(range(B), range(N), range(C)):
        target = t[b][i][c]
        if p.get("label_smoothing"):
            target += p["label_smoothing"] * (sum(t[b][i]) / C - target)
        x = z[b][i][c] - (p["margins"][c].item() if "margins" in p else 0) * target
        prob = 1 / (1 + math.exp(-x))
        bce = -target * math.log(prob) - (1 - target) * math.log(1 - prob)
        bce *= abs(target - prob) ** p.get("focal_gamma", 0)
        bce *= p["class_weights"][c].item() if "class_weights" in p else 1
        total += bce * (1 + strength * (weights.get((b, i), 1.0) - 1))
    s = max(sum(sum(sum(row) for row in image) for image in t), 1)
    return p.get("loss_weight", 1.0) * total / s


SETTINGS = (
    {},
    dict(area_weight=PowerAreaWeight()),
    dict(area_weight=PowerAreaWeight(), normalize="none", strength=0.3),
    dict(class_weights=torch.tensor([0.5, 1.0, 1.5, 3.0]), loss_weight=0.5),
    dict(margins=torch.tensor([0.5, 0.1, 0.0, 0.3]), label_smoothing=0.1),
    dict(focal_gamma=2.0, loss_weight=0.7),
    dict(
        area_weight=PowerAreaWeight(),
        class_weights=torch.tensor([0.5, 1.0, 1.5, 3.0]),
        margins=torch.tensor([0.5, 0.1, 0.0, 0.3]),
        label_smoothing=0.1,
        focal_gamma=1.5,
        loss_weight=0.5,
        strength=0.8,
    ),
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_equals_the_formula(settings):
    data = inputs(dtype=torch.float64)
    value = area_aware_bce_loss(*data, **settings)
    assert value.item() == pytest.approx(reference(*data, **settings), rel=1e-7)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradcheck(settings):
    logits, targets, areas = inputs(dtype=torch.float64)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: area_aware_bce_loss(z, targets, areas, **settings), logits
    )


@pytest.mark.parametrize("loss_weight", [1.0, 0.3])
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_neutral_settings_equal_mmdet_bit_for_bit(loss_weight, reduction):
    stock = MODELS.build(
        dict(
            type="mmdet.CrossEntropyLoss",
            use_sigmoid=True,
            reduction="none",
            loss_weight=loss_weight,
        )
    )
    ours = AreaAwareBCELoss(
        area_weight=None, loss_weight=loss_weight, reduction=reduction
    )
    logits, targets, _ = inputs()
    grads = []
    for loss in (stock, ours):
        z = logits.clone().requires_grad_()
        value = loss(z, targets)
        (value.sum() / 7).backward()
        grads.append((value.sum(), z.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    assert torch.equal(grads[0][1], grads[1][1])


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("logit", [100.0, -100.0])
def test_extreme_logits_are_finite(settings, logit):
    _, targets, areas = inputs()
    z = torch.full((B, N, C), logit, requires_grad=True)
    loss = area_aware_bce_loss(z, targets, areas, **settings)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("settings", SETTINGS)
def test_half_precision_is_computed_in_float32(settings, dtype):
    logits, targets, areas = inputs()
    z = logits.to(dtype)
    value = area_aware_bce_loss(z, targets, areas, **settings)
    assert value.dtype == torch.float32
    assert value == area_aware_bce_loss(z.float(), targets, areas, **settings)


def test_areas_beyond_half_precision():
    """1280² overflows fp16: areas in fp32 stay exact beside fp16 logits."""
    areas = torch.full((B, N), 1280.0**2)
    logits, targets, _ = inputs()
    loss = area_aware_bce_loss(
        logits.half(),
        targets,
        Positives(areas, image_area=1280**2),
        area_weight=BoxScaleWeight(),
    )
    assert loss.isfinite()


@pytest.mark.parametrize("area_of_background", [0.0, 1.0, math.inf, math.nan])
def test_background_weighs_exactly_one_whatever_its_area(area_of_background):
    logits, targets, areas = inputs()
    bg = targets.sum(-1) == 0
    areas = areas.masked_fill(bg, area_of_background)
    plain = area_aware_bce_loss(logits, targets, reduction="none")
    weighted = area_aware_bce_loss(
        logits, targets, areas, area_weight=PowerAreaWeight(), reduction="none"
    )
    assert torch.equal(weighted[bg], plain[bg])
    ratio = (weighted / plain)[~bg]
    assert ratio.isfinite().all()
    assert ratio.std() > 0


@pytest.mark.parametrize(
    "typo", [dict(class_weight=torch.ones(C)), dict(area_wieght=None), dict(stride=8)]
)
def test_an_unknown_keyword_is_an_error(typo):
    logits, targets, areas = inputs()
    with pytest.raises(TypeError, match="unexpected keyword"):
        area_aware_bce_loss(logits, targets, areas, **typo)
    with pytest.raises(TypeError, match="unexpected keyword"):
        AreaAwareBCELoss()(logits, targets, areas=areas, **typo)


def test_there_is_no_area_weight_by_default():
    logits, targets, _ = inputs()
    loss = AreaAwareBCELoss()(logits, targets)
    assert loss == area_aware_bce_loss(logits, targets)


POWER = dict(type="PowerAreaWeight")


def test_no_foreground_no_rows_one_class():
    loss = AreaAwareBCELoss(area_weight=POWER)
    for shape in ((B, N, C), (B, 0, C), (B, N, 1)):
        z = torch.randn(shape, requires_grad=True)
        value = loss(z, torch.zeros(shape), areas=torch.zeros(shape[:2]))
        value.backward()
        assert value.isfinite()


def test_label_smoothing_leaves_background_alone():
    logits, targets, _ = inputs()
    plain = area_aware_bce_loss(logits, targets, reduction="none")
    smooth = area_aware_bce_loss(logits, targets, label_smoothing=0.2, reduction="none")
    bg = targets.sum(-1) == 0
    assert torch.equal(plain[bg], smooth[bg])
    assert not torch.equal(plain[~bg], smooth[~bg])


def test_module_equals_function():
    logits, targets, areas = inputs()
    module = MODELS.build(
        dict(
            type="AreaAwareBCELoss",
            area_weight=dict(type="PowerAreaWeight", max_weight=2.0),
            class_weight=[1.0, 2.0, 3.0, 4.0],
            margin=[0.1, 0.2, 0.3, 0.4],
            loss_weight=0.5,
            strength=0.5,
        )
    )
    expected = area_aware_bce_loss(
        logits,
        targets,
        areas,
        area_weight=PowerAreaWeight(max_weight=2.0),
        class_weights=torch.tensor([1.0, 2.0, 3.0, 4.0]),
        margins=torch.tensor([0.1, 0.2, 0.3, 0.4]),
        loss_weight=0.5,
        strength=0.5,
    )
    assert torch.equal(module(logits, targets, areas=areas), expected)


def test_reduction_follows_mmdet():
    logits, targets, areas = inputs()
    loss = AreaAwareBCELoss(area_weight=POWER)
    elements = loss(logits, targets, areas=areas, reduction_override="none")
    assert elements.shape == (B, N, C)
    total = loss(logits, targets, areas=areas, reduction_override="sum")
    assert total == elements.sum()
    assert loss(logits, targets, avg_factor=7.0, areas=areas) == total / 7.0
    weight = torch.rand(B, N)
    weighted = loss(logits, targets, weight, areas=areas, reduction_override="none")
    torch.testing.assert_close(weighted, elements * weight[..., None])
    with pytest.raises(ValueError, match="avg_factor goes with reduction='mean' only"):
        loss(logits, targets, avg_factor=7.0, areas=areas, reduction_override="sum")
    with pytest.raises(ValueError, match="got 'average'"):
        loss(logits, targets, areas=areas, reduction_override="average")


def test_areas_are_needed():
    logits, targets, _ = inputs()
    with pytest.raises(ValueError, match=r"PowerAreaWeight\(.*AreaAwareYOLOv8Head"):
        AreaAwareBCELoss(area_weight=POWER)(logits, targets)


def test_class_counts_become_weights_and_stay_out_of_checkpoints():
    loss = AreaAwareBCELoss(
        class_weight=dict(type="InverseFrequencyWeight", power=1.0),
        margin=dict(type="LDAMMargin"),
        class_counts=[1, 16],
    )
    torch.testing.assert_close(loss.class_weights, torch.tensor([32 / 17, 2 / 17]))
    torch.testing.assert_close(loss.margins, torch.tensor([0.5, 0.25]))
    assert not loss.state_dict()
    assert loss.to(torch.float64).margins.dtype == torch.float64  # moves with the model


def test_auto_counts_that_nothing_needs_are_none():
    assert AreaAwareBCELoss(class_counts="auto").class_counts is None


def test_auto_counts_must_be_filled():
    loss = AreaAwareBCELoss(margin=dict(type="LDAMMargin"), class_counts="auto")
    logits, targets, areas = inputs()
    with pytest.raises(RuntimeError, match="ClassCountsHook"):
        loss(logits, targets, areas=areas)
    loss.set_num_classes(C)
    with pytest.raises(ValueError, match="class_counts has 2 entries for 4 classes"):
        loss.set_class_counts([1, 2])
    loss.set_class_counts([1, 2, 3, 4])
    assert loss(logits, targets, areas=areas).isfinite()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(normalize="sum"), "normalize must be one of .* got 'sum'"),
        (dict(reduction="avg"), "reduction must be one of .* got 'avg'"),
        (dict(strength=1.5), r"strength must be in \[0, 1\], got 1.5"),
        (dict(strength=0.5), "strength=0.5 fades an area weight, and area_weight is"),
        (dict(label_smoothing=1.0), r"label_smoothing must be in \[0, 1\), got 1.0"),
        (dict(focal_gamma=0.5), "focal_gamma must be 0 or at least 1, got 0.5"),
        (dict(loss_weight=-1), "loss_weight must not be negative, got -1"),
        (dict(use_sigmoid=False), "use_sigmoid=False must"),
        (dict(loss_weight=math.nan), "loss_weight must not be negative, got nan"),
        (dict(area_weight="StepAreaWeight"), "got 'StepAreaWeight'"),
        (dict(area_weight=dict(type="LDAMMargin")), "got {'type': 'LDAMMargin'}"),
        (dict(margin=dict(type="PowerAreaWeight")), "is an area weight"),
        (dict(margin="LDAMMargin"), "got 'LDAMMargin'"),
        (dict(class_counts="all"), "must be a list of counts or 'auto', got 'all'"),
        (dict(margin=dict(type="LDAMMargin")), "class_counts='auto'.*got None"),
        (dict(class_weight=[1, -2]), r"finite and not negative, got \[1, -2\]"),
        (dict(class_weight=[1, math.nan]), r"finite and not negative, got \[1, nan\]"),
        (dict(margin=[math.inf]), r"finite and not negative, got \[inf\]"),
        (
            dict(margin=dict(type="LDAMMargin"), class_counts=[1, -2]),
            r"must not be negative, got \[1, -2\]",
        ),
    ],
)
def test_wrong_values_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AreaAwareBCELoss(**settings)


def test_an_unknown_area_weight_is_named():
    with pytest.raises(ValueError, match=r"CubeAreaWeight.*there are PowerAreaWeight,"):
        AreaAwareBCELoss(area_weight=dict(type="CubeAreaWeight"))
