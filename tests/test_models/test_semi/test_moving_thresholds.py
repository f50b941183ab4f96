"""Thresholds that follow, each against a formula of the test's own."""

import pytest

from mmareaaware.models.semi import ClassCountThresholds, F1Thresholds
from tests.semi import found

BOX = [[0, 0, 9, 9]]


def test_as_many_boxes_as_labelled():
    rule = ClassCountThresholds(decay=0.0, min_high=0.2, max_high=0.95)
    rule.set_num_classes(3)
    scores = [0.91, 0.81, 0.71, 0.61, 0.85]
    unlabelled = [found([[0, 0, 9, 9]] * 5, scores, [0, 0, 0, 0, 2]), found([], [])]
    labelled = [found([], []) for _ in range(2)]
    labelled[0] = found([[0, 0, 9, 9]] * 3, [1.0] * 3, [0, 0, 1])
    rule.update(unlabelled, labelled, list)
    # two boxes of class 0 on two images; of class 1 nothing was found; no class 2
    assert rule.high.tolist() == pytest.approx([0.72, 0.2, 0.95])


def test_thresholds_follow_f1():
    rule = F1Thresholds(high=0.5, momentum=0.005, interval=2)
    rule.set_num_classes(3)
    calls = []

    def detect():
        calls.append(1)
        boxes = [[0, 0, 20, 20], [50, 50, 70, 70], [0, 40, 9, 60]]
        return [found(boxes, [0.9, 0.8, 0.3], [0, 0, 0])]

    boxes = [[0, 0, 20, 20], [30, 0, 50, 20], [60, 0, 80, 20]]
    labelled = [found(boxes, [1.0] * 3, [0, 0, 1])]
    rule.update([], labelled, detect)
    f1 = 2 * 1 / (2 + 2)  # one of two detections is right, one of two boxes found
    expected = [0.995 * 0.5 + 0.005 * (0.1 + 0.8 * f) for f in (f1, 0)]
    assert rule.high.tolist() == pytest.approx([*expected, 0.5])
    rule.update([], labelled, detect)
    assert len(calls) == 1


def test_thresholds_that_follow_f1_stay_within_their_limits():
    rule = F1Thresholds(high=0.5, min_high=0.3, max_high=0.7, momentum=1.0)
    rule.set_num_classes(2)
    right = found([[0, 0, 20, 20]], [0.9])  # aims at 0.9, and the missed class at 0.1
    labelled = found([[0, 0, 20, 20], [30, 0, 50, 20]], [1.0] * 2, [0, 1])
    rule.update([], [labelled], lambda: [right])
    assert rule.high.tolist() == pytest.approx([0.7, 0.3])


def test_boxes_are_counted_per_image():
    rule = ClassCountThresholds(decay=0.0, min_high=0.2, max_high=0.95)
    rule.set_num_classes(1)
    unlabelled = [found(BOX * 4, [0.91, 0.81, 0.71, 0.61]), found([], [])]
    rule.update(unlabelled, [found(BOX, [1.0])], list)  # one an image: two of two
    assert rule.high.tolist() == pytest.approx([0.72])


def test_older_counts_count_less():
    rule = ClassCountThresholds(decay=0.5)
    rule.set_num_classes(1)
    for score in (0.905, 0.505):
        rule.update([found(BOX, [score])], [found(BOX, [1.0])] * 2, list)
    assert rule.histogram[0, [90, 50]].tolist() == [0.5, 1]
    assert rule.boxes.tolist() == [3]
    assert rule.images.tolist() == [1.5, 3]


def test_a_score_of_one_is_of_its_own_class_and_the_threshold_within_limits():
    rule = ClassCountThresholds(min_high=0.2, max_high=0.95)
    rule.set_num_classes(2)
    labelled = [found(BOX * 2, [1.0] * 2, [0, 1])]
    rule.update([found(BOX * 3, [1.0, 1.0, 0.505], [0, 0, 1])], labelled, list)
    assert rule.histogram.nonzero().tolist() == [[0, 99], [1, 50]]
    assert rule.high.tolist() == pytest.approx([0.95, 0.2])


def test_rounding_of_counts_decides_nothing():
    rule = ClassCountThresholds(min_high=0.2)
    rule.set_num_classes(1)
    for i in range(60):
        score = (0.305, 0.605, 0.885)[i % 3]
        rule.update([found(BOX, [score])], [found(BOX, [1.0])], list)
        assert rule.high.tolist() == pytest.approx([0.2])


def test_older_matches_count_less():
    rule = F1Thresholds(max_high=0.95, momentum=1.0, interval=1, decay=0.5)
    rule.set_num_classes(1)
    truth = [found([[0, 0, 20, 20]], [1.0])]
    for box in ([0, 0, 20, 20], [50, 50, 70, 70]):  # right, and wrong
        rule.update([], truth, lambda box=box: [found([box], [0.99])])
    assert rule.high.tolist() == pytest.approx([0.1 + 0.8 * 2 * 0.5 / (1.5 + 1.5)])
