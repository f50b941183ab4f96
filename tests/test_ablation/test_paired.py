"""The statistics, against numbers computed by hand and by SciPy's paired t-test."""

import numpy as np
import pytest
from scipy import stats

from mmareaaware.ablation import Sample, compare


def runs(**settings) -> list[dict]:
    """One run for each value; None where the metric is missing."""
    return [
        dict(setting=setting, seed=seed, metrics=dict(AP=value))
        for setting, values in settings.items()
        for seed, value in values.items()
    ]


def test_mean_sd_and_interval():
    sample = Sample({0: 1.0, 1: 2.0, 2: 4.5})
    assert sample.mean == 2.5
    assert sample.sd == pytest.approx(3.25**0.5)  # (1.5² + 0.5² + 2²) / (3 − 1)
    # 4.302653: 97.5 % point of Student's t with 2 degrees of freedom, from a table
    half_width = 4.302653 * 3.25**0.5 / 3**0.5
    assert sample.interval == pytest.approx((2.5 - half_width, 2.5 + half_width))
    assert not sample.excludes_zero
    assert Sample({0: 2.4, 1: 2.5, 2: 2.6}).excludes_zero
    assert Sample({0: -2.4, 1: -2.5, 2: -2.6}).excludes_zero


def test_the_interval_of_equal_values_is_a_point(recwarn):
    assert Sample({0: 0.1, 1: 0.1, 2: 0.1}).interval == pytest.approx((0.1, 0.1))
    assert not recwarn.list


def test_one_seed_has_no_interval():
    sample = Sample({3: 7.0})
    assert sample.mean == 7
    assert np.isnan([sample.sd, *sample.interval]).all()
    assert not sample.excludes_zero
    assert np.isnan(Sample({}).mean)


def test_paired_interval_equals_that_of_scipy():
    rng = np.random.default_rng(0)
    baseline = rng.normal(30, 2, 5)
    power = baseline + rng.normal(1, 0.3, 5)
    cells = compare(
        runs(baseline=dict(enumerate(baseline)), power=dict(enumerate(power))),
        "AP",
        "baseline",
    )
    difference = cells["power"].difference
    expected = stats.ttest_rel(power, baseline).confidence_interval(0.95)
    assert difference.interval == pytest.approx((expected.low, expected.high))
    # Each seed with itself: the spread between the seeds does not count
    assert difference.sd < 0.5 < cells["power"].sample.sd


def test_only_seeds_that_both_have_are_paired():
    cells = compare(
        runs(
            baseline={0: 0.25, 1: 0.5, 2: None}, power={2: 0.5, 1: 0.75, 0: 0.25, 7: 1}
        ),
        "AP",
        "baseline",
        scale=100,
    )
    assert cells["baseline"].sample.values == {0: 25, 1: 50}
    assert cells["power"].difference.values == {0: 0, 1: 25}
    assert cells["power"].sample.mean == 62.5
    assert not cells["baseline"].difference.values


def test_without_a_baseline_there_are_no_differences():
    cells = compare(runs(power={0: 1.0, 1: 2.0}), "AP", "baseline")
    assert cells["power"].sample.mean == 1.5
    assert not cells["power"].difference.values
