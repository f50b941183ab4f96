import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import METRICS

from mmareaaware.evaluation import CalibrationMetric
from tests.test_evaluation.test_background_fp_metric import image

SIDES = dict(s=20.0, m=50.0, l=120.0)
AREAS = [(0, 32), (32, 96), (96, math.inf)]


def box(x: float, side: float) -> list[float]:
    return [x, 0.0, x + side, side]


def evaluate(*images, **options) -> dict[str, float]:
    metric = METRICS.build(dict(type="CalibrationMetric", **options))
    metric.process({}, images)
    values = metric.evaluate(len(images))
    return {k.removeprefix("calibration/"): v for k, v in values.items()}


def detections(found: list[tuple[float, float, bool]]) -> dict:
    """An image with detections of a score and a side, right or wrong."""
    places = [box(1000.0 * i, side) for i, (_, side, _) in enumerate(found)]
    predictions = [(p, 0, s) for p, (s, _, _) in zip(places, found, strict=True)]
    boxes = [(p, 0) for p, (*_, right) in zip(places, found, strict=True) if right]
    return image(predictions, boxes)


def test_four_in_five_of_a_score_of_0_8():
    found = [(0.8125, 20.0, i < 13) for i in range(16)]  # exact in float32
    values = evaluate(detections(found))
    assert values["ece"] == values["ece_s"] == values["gap"] == values["gap_s"] == 0
    assert all(math.isnan(values[name]) for name in ("ece_m", "gap_m", "ece_l"))


@pytest.mark.parametrize(("right", "gap"), [(True, -0.25), (False, 0.75)])
def test_too_sure_is_above_zero(right, gap):
    values = evaluate(detections([(0.75, 50.0, right)]))
    assert values["gap"] == values["gap_m"] == gap
    assert values["ece"] == values["ece_m"] == abs(gap)


def test_errors_of_two_bins_do_not_cancel():
    values = evaluate(detections([(0.25, 20.0, True), (0.75, 20.0, False)]))
    assert values["gap"] == 0
    assert values["ece"] == 0.75
    values = evaluate(detections([(0.25, 20.0, True), (0.75, 20.0, False)]), num_bins=1)
    assert values["ece"] == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 64).map(lambda n: n / 64),
                st.sampled_from([*SIDES.values(), 32.0, 96.0]),
                st.booleans(),
            ),
            max_size=8,
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.125, 0.5]),
)
def test_the_formula(images, num_bins, score_thr):
    values = evaluate(*map(detections, images), num_bins=num_bins, score_thr=score_thr)
    counted = [d for found in images for d in found if d[0] >= score_thr]
    groups = {"": counted} | {
        f"_{name}": [d for d in counted if low <= d[1] < high]
        for name, (low, high) in zip(SIDES, AREAS, strict=True)
    }
    for suffix, group in groups.items():
        bins: dict = {}
        for score, _, right in group:
            number = min(int(Fraction(score) * num_bins), num_bins - 1)
            bins.setdefault(number, []).append(Fraction(score) - right)
        if not group:
            assert math.isnan(values[f"ece{suffix}"])
            assert math.isnan(values[f"gap{suffix}"])
            continue
        error = sum(abs(sum(excess)) for excess in bins.values()) / len(group)
        gap = sum(sum(excess) for excess in bins.values()) / len(group)
        assert values[f"ece{suffix}"] == pytest.approx(float(error), abs=1e-12)
        assert values[f"gap{suffix}"] == pytest.approx(float(gap), abs=1e-12)


def test_ignored_detections_do_not_count():
    wrong = (box(0.0, 20.0), 0, 0.9)
    right = (box(1000.0, 20.0), 0, 0.75)
    sample = image([wrong, right], [(right[0], 0)], ignored=[box(0.0, 30.0)])
    assert evaluate(sample)["gap"] == -0.25


def test_other_bins_and_degenerate_boxes():
    flat = [5.0, 5.0, 5.0, 9.0]
    values = evaluate(image([(flat, 0, 0.5)]), size_bins=(12, 40))
    assert values["gap_0-12"] == 0.5
    assert set(values) == {
        f"{name}{bin_}"
        for name in ("ece", "gap")
        for bin_ in ("", "_0-12", "_12-40", "_40-inf")
    }


def test_a_shift_of_scores_shows():
    """What it is for: the ranking stays, and with it AP."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.1, 0.9, 400)
    right = generator.uniform(size=400) < scores

    def gap(shift: float) -> float:
        logits = np.log(scores / (1 - scores)) + shift
        shifted = 1 / (1 + np.exp(-logits))
        found = [(s, 20.0, r) for s, r in zip(shifted, right, strict=True)]
        return evaluate(detections([(float(s), d, bool(r)) for s, d, r in found]))[
            "gap"
        ]

    assert abs(gap(0)) < 0.05
    assert gap(-1) < -0.1
    assert gap(1) > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_bins=0), "num_bins must be at least 1, got 0"),
        (dict(score_thr=1.5), "score_thr must be between 0 and 1, got 1.5"),
        (dict(iou_thr=-1), "iou_thr must be between 0 and 1, got -1"),
        (dict(size_bins="voc"), "size_bins must be one of"),
        (dict(size_bins=(40, 12)), "must increase"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        CalibrationMetric(**options)


def test_without_ground_truth():
    sample = image([(box(0.0, 20.0), 0, 0.9)])
    del sample["gt_instances"]["bboxes"]
    with pytest.raises(ValueError, match="no ground truth in the data samples"):
        evaluate(sample)
