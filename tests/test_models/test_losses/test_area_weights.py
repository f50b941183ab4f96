import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmareaaware.models.losses import (
    AreaMismatchWeight,
    AreaWeighting,
    BoxScaleWeight,
    LogAreaWeight,
    Positives,
    PowerAreaWeight,
    PyramidMembershipWeight,
    StepAreaWeight,
)

AREAS = torch.tensor([0.0, 1.0, 9.0, 12.5**2, 32.0**2, 50.0**2, 96.0**2, 1280.0**2])
POSITIVES = Positives(
    AREAS,
    pred_areas=AREAS.flip(0),
    image_area=1280.0**2,
    strides=torch.tensor([8, 8, 8, 8, 16, 16, 32, 32]),
    level_strides=(8, 16, 32),
)
ALL = (
    PowerAreaWeight(),
    PowerAreaWeight(ref_area=20.0, gamma=2.0, min_weight=0.0, max_weight=9.0),
    LogAreaWeight(),
    StepAreaWeight(),
    BoxScaleWeight(),
    AreaMismatchWeight(),
    PyramidMembershipWeight(),
)


def expected_power(a):
    return min(max((1024 / max(a, 1e-9)) ** 0.5, 1.0), 4.0)


def expected_log(a):
    return min(max(math.log(max(a, 1e-9)) / math.log(1024), 0.1), 4.0)


def expected_step(a):
    return 2.0 if a < 1024 else 1.5 if a < 96**2 else 1.0


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (PowerAreaWeight(), expected_power),
        (LogAreaWeight(), expected_log),
        (StepAreaWeight(), expected_step),
        (BoxScaleWeight(), lambda a: 2 - a / 1280**2),
    ],
    ids=lambda value: type(value).__name__,  # the same in every test process
)
def test_formula(weight, expected):
    values = weight(POSITIVES)
    torch.testing.assert_close(
        values.double(), torch.tensor([expected(a) for a in AREAS.tolist()]).double()
    )


def test_area_mismatch_formula():
    areas, pred = (
        torch.tensor([100.0, 100.0, 96.0**2]),
        torch.tensor([50.0, 300.0, 1.0]),
    )
    values = AreaMismatchWeight(beta=0.5)(Positives(areas, pred_areas=pred))
    expected = [1 + 0.5 * math.tanh(abs(math.log(p / 100))) for p in (50, 300)] + [1.0]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_a_perfect_prediction_has_no_mismatch():
    values = AreaMismatchWeight()(Positives(AREAS, pred_areas=AREAS.clone()))
    assert (values == 1).all()


def test_pyramid_membership_formula():
    areas = torch.tensor([10.0**2, 40.0**2, 700.0**2])
    strides = torch.tensor([8, 32, 16])
    values = PyramidMembershipWeight(alpha=3.0, temperature=0.7)(
        Positives(areas, strides=strides, level_strides=(8, 16, 32))
    )
    for value, area, stride in zip(values, areas, strides, strict=True):
        scores = {
            s: math.exp(-3 * abs(math.log(math.sqrt(area) / (4 * s))) / 0.7)
            for s in (8, 16, 32)
        }
        expected = 3 * scores[int(stride)] / sum(scores.values())
        assert value.item() == pytest.approx(expected, rel=1e-5)


@given(st.floats(0, 1e7))
def test_pyramid_membership_has_mean_one_over_the_levels(area):
    levels = (4, 8, 16, 32)
    values = [
        PyramidMembershipWeight()(
            Positives(
                torch.tensor([area]), strides=torch.tensor([s]), level_strides=levels
            )
        )
        for s in levels
    ]
    assert torch.stack(values).mean().item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("weight", ALL, ids=repr)
def test_finite_and_not_negative_for_every_area(weight):
    values = weight(POSITIVES)
    assert values.isfinite().all()
    assert (values >= 0).all()


@pytest.mark.parametrize(
    ("weight", "missing"),
    [
        (BoxScaleWeight(), "image_area"),
        (AreaMismatchWeight(), "pred_areas"),
        (PyramidMembershipWeight(), "strides"),
    ],
    ids=repr,
)
def test_missing_geometry_is_named(weight, missing):
    with pytest.raises(ValueError, match=f"needs `{missing}`.*StandardRoIHead"):
        weight(Positives(AREAS))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: PowerAreaWeight(min_weight=2, max_weight=1),
            "min_weight=2 .*weight=1",
        ),
        (lambda: PowerAreaWeight(ref_area=-1), "ref_area must be positive, got -1"),
        (lambda: PowerAreaWeight(gamma=math.nan), "finite and not negative, got nan"),
        (lambda: PowerAreaWeight(gamma=math.inf), "finite and not negative, got inf"),
        (lambda: PowerAreaWeight(gamma=-0.5), "finite and not negative, got -0.5"),
        (lambda: LogAreaWeight(ref_area=1), "ref_area must be above 1 px², got 1"),
        (lambda: StepAreaWeight(sides=(9, 4)), "positive and ascend, got"),
        (lambda: StepAreaWeight(sides=(0, 4)), "positive and ascend, got"),
        (lambda: StepAreaWeight(weights=(1, 2)), "2 sides need 3 weights"),
        (
            lambda: StepAreaWeight(weights=(1, 2, float("nan"))),
            "weights must not be negative",
        ),
        (lambda: AreaMismatchWeight(beta=-1), "beta must not be negative, got -1"),
        (
            lambda: PyramidMembershipWeight(temperature=0),
            "temperature must be positive",
        ),
    ],
)
def test_wrong_values_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_what_positives_have_is_known():
    with pytest.raises(TypeError, match="stride"):
        Positives(AREAS, stride=8)
    with pytest.raises(AttributeError):  # frozen
        POSITIVES.areas = AREAS


def weighting(area_weight=None, normalize="mean", strength=1.0):
    result = AreaWeighting()
    result.set_area_weight(area_weight or PowerAreaWeight(), normalize, strength)
    return result


def random_positives(seed=0, number=50):
    generator = torch.Generator().manual_seed(seed)
    mass = torch.rand(number, generator=generator)
    areas = torch.exp(torch.rand(number, generator=generator) * 10)
    return Positives(areas), mass


def test_a_positive_without_a_target_weighs_one():
    weights, mean = weighting(normalize="none").weigh(
        Positives(torch.tensor([4.0, 4.0, 4.0])), torch.tensor([0.5, 0.0, 1e-7])
    )
    assert weights.tolist() == [4.0, 1.0, 1.0]
    assert mean == 4


@given(seed=st.integers(0, 100), strength=st.floats(0, 1))
def test_mean_normalisation_keeps_the_target_weighted_mean_at_one(seed, strength):
    positives, mass = random_positives(seed)
    weights, mean = weighting(strength=strength).weigh(positives, mass)
    raw = PowerAreaWeight()(positives)
    assert ((weights * mass).sum() / mass.sum()).item() == pytest.approx(1, abs=1e-5)
    assert mean == pytest.approx(((raw * mass).sum() / mass.sum()).item(), 1e-5)


def test_strength_fades_to_no_weighting():
    positives, mass = random_positives()
    full, half, none = (
        weighting(strength=strength).weigh(positives, mass)[0]
        for strength in (1.0, 0.5, 0.0)
    )
    assert full.std() > 0
    torch.testing.assert_close(half, (1 + full) / 2)
    assert (none == 1).all()


@pytest.mark.parametrize("number", [0, 3])
def test_no_target_is_finite(number):
    nothing = torch.zeros(number)
    weights, mean = weighting().weigh(Positives(nothing), nothing)
    assert (weights == 1).all()
    assert mean == 0


def test_sides_of_steps_are_those_of_the_metric():
    weight = StepAreaWeight(sides=(12, 40), weights=(3.0, 2.0, 1.0))
    sides = torch.tensor([11.9, 12.0, 39.9, 40.0])
    assert weight(Positives(sides**2)).tolist() == [3.0, 2.0, 2.0, 1.0]


def test_a_box_larger_than_the_image():
    areas = torch.tensor([0.0, 50, 100, 150, 350])
    weights = BoxScaleWeight()(Positives(areas, image_area=100))
    assert weights.tolist() == [2, 1.5, 1, 1, 1]
