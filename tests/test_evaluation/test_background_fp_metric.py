import math
from collections import Counter
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub, MMLogger
from mmengine.structures import InstanceData

from mmareaaware.evaluation import BackgroundFPMetric

KINDS = ("bg", "dup", "loc", "cls", "both")
CAT = [10.0, 10, 30, 30]
DOG = [60.0, 60, 90, 90]
NOWHERE = [100.0, 100, 120, 120]
SCORES = (0.125, 0.25, 0.5, 1.0)  # exact in float32


def image(predictions, boxes=((CAT, 0), (DOG, 1)), ignored=()) -> dict:
    """Predictions (box, label, score) and boxes (box, label) of one data sample."""
    sample = DetDataSample()
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([b for b, _ in boxes]).view(-1, 4),
        labels=torch.tensor([c for _, c in boxes], dtype=torch.long),
    )
    sample.ignored_instances = InstanceData(bboxes=torch.tensor(ignored).view(-1, 4))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([b for b, *_ in predictions]).view(-1, 4),
        labels=torch.tensor([c for _, c, _ in predictions], dtype=torch.long),
        scores=torch.tensor([s for *_, s in predictions]),
    )
    return sample.to_dict()


@pytest.fixture(scope="session")
def evaluate(device):
    """The metric of images whose data samples are where a test leaves them."""

    def on_device(value):
        if isinstance(value, dict):
            return {k: on_device(v) for k, v in value.items()}
        return value.to(device) if hasattr(value, "to") else value

    def evaluate(*images, **settings) -> dict:
        metric = BackgroundFPMetric(**settings)
        metric.process({}, [on_device(image) for image in images])
        values = metric.evaluate(len(images))
        return {k.removeprefix("background/"): v for k, v in values.items()}

    return evaluate


def split(values, point="recall0.5") -> dict[str, float]:
    """False positives per image by kind, without the kinds that there are not."""
    numbers = {kind: values[f"{kind}_fp_per_image_{point}"] for kind in KINDS}
    return {kind: number for kind, number in numbers.items() if number}


@pytest.mark.parametrize(
    ("prediction", "kind"),
    [
        ((CAT, 0), None),
        (([12.0, 10, 32, 30], 0), None),  # IoU 0.82
        ((CAT, 1), "cls"),
        (([22.0, 10, 42, 30], 0), "loc"),  # IoU 0.25
        (([22.0, 10, 42, 30], 1), "both"),
        (([28.0, 10, 48, 30], 0), "bg"),  # IoU 0.05
        (([28.0, 10, 48, 30], 1), "bg"),
        ((NOWHERE, 0), "bg"),
    ],
    ids=["exact", "well", "cls", "loc", "both", "bg", "bg-other-class", "bg-nowhere"],
)
def test_one_prediction(prediction, kind, evaluate):
    dog = (DOG, 1, 0.3)  # the recall is half from here on
    values = evaluate(image([(*prediction, 0.9), dog]), score_thrs=(0.5,))
    assert values["fp_per_image_score0.5"] == (kind is not None)
    assert values["bg_fp_per_image_score0.5"] == (kind == "bg")
    assert split(values, "score0.5") == ({kind: 1} if kind else {})
    if kind:
        assert split(values) == {kind: 1}
        assert values["fp_per_image_recall0.5"] == 1


def test_the_highest_score_takes_a_box_and_the_second_is_a_duplicate(evaluate):
    sample = image([(CAT, 0, 0.6), (CAT, 0, 0.9), (DOG, 1, 0.5)])
    values = evaluate(sample, recalls=(1,), score_thrs=(0.7,))
    assert values["fp_per_image_score0.7"] == 0
    assert split(values, "recall1") == {"dup": 1}
    assert values["score_thr_recall1"] == 0.5


def test_a_detection_takes_the_box_that_it_meets_best(evaluate):
    boxes = (([0.0, 0, 20, 20], 0), ([6.0, 0, 26, 20], 0))
    between = ([5.0, 0, 25, 20], 0, 0.9)  # IoU 0.6 and 0.9: takes the second
    left = ([0.0, 0, 16, 20], 0, 0.8)  # IoU 0.8 and 0.4: needs the first
    values = evaluate(image([between, left], boxes), recalls=(1,))
    assert values["fp_per_image_recall1"] == 0


@pytest.mark.parametrize(
    ("boxes", "kind"),
    [
        ([(DOG, 1), ([60.0, 60, 90, 70], 0)], "loc"),  # badly on its class, IoU 0.33
        ([(DOG, 1), (DOG, 0)], "cls"),  # its class is taken
        ([(DOG, 0), ([60.0, 60, 90, 70], 1)], "dup"),  # badly on the other class
    ],
    ids=["loc", "cls", "dup"],
)
def test_where_several_kinds_fit_it_is_the_first_of_tide(boxes, kind, evaluate):
    first = [(*box, 0.9) for box in boxes]  # takes both
    values = evaluate(
        image([*first, (DOG, 0, 0.8), (CAT, 2, 0.1)], [*boxes, (CAT, 2)]), recalls=(1,)
    )
    assert split(values, "recall1") == {kind: 1}


@pytest.mark.parametrize(
    ("threshold", "fp", "bg_fp"), [(0.05, 3, 2), (0.4, 2, 1), (0.5, 1, 1), (0.7, 0, 0)]
)
def test_detections_count_from_the_threshold_on(threshold, fp, bg_fp, evaluate):
    predictions = [(NOWHERE, 0, 0.5), (CAT, 1, 0.4), (NOWHERE, 1, 0.1)]
    values = evaluate(image(predictions), score_thrs=(threshold,))
    assert values[f"fp_per_image_score{threshold}"] == fp
    assert values[f"bg_fp_per_image_score{threshold}"] == bg_fp


def test_detections_in_ignored_regions_do_not_count(evaluate):
    inside = ([109.0, 100, 129, 120], 0, 0.9)  # 0.55 of it
    half_out = ([111.0, 100, 131, 120], 0, 0.9)  # 0.45 of it
    ignored = [NOWHERE]
    values = evaluate(image([inside, half_out, (CAT, 0, 0.5)], ignored=ignored))
    assert values["fp_per_image_score0.25"] == 1
    assert values["fp_per_image_recall0.5"] == 1
    assert values["precision_best_f1"] == 0.5
    # What finds a box is right wherever it is.
    values = evaluate(image([(CAT, 0, 0.5)], ignored=[[0.0, 0, 50, 50]]))
    assert values["recall_best_f1"] == 0.5


def test_averages_over_images_with_and_without_objects(evaluate):
    nothing = (NOWHERE, 0, 0.9)
    values = evaluate(
        image([nothing, (CAT, 0, 0.8), (DOG, 1, 0.3)]),
        image([nothing, nothing, (CAT, 0, 0.4)], boxes=()),
        image([], boxes=()),
        score_thrs=(0.5, 0.1),
    )
    for point, fp, on_empty in (("0.5", 1, 1), ("0.1", 4 / 3, 1.5)):
        assert values[f"fp_per_image_score{point}"] == fp
        assert values[f"bg_fp_per_image_score{point}"] == fp
        assert values[f"fp_per_empty_image_score{point}"] == on_empty
        assert values[f"fp_per_filled_image_score{point}"] == 1
    assert values["fp_per_empty_image_recall0.5"] == 1


def test_the_threshold_is_the_highest_that_reaches_the_recall(evaluate):
    first = image([(CAT, 0, 0.9), (NOWHERE, 0, 0.8), (DOG, 1, 0.3), (NOWHERE, 1, 0.25)])
    second = image([(NOWHERE, 0, 0.7), (NOWHERE, 1, 0.6), (CAT, 0, 0.6)])
    values = evaluate(first, second, recalls=(0.1, 0.25, 0.5, 0.75, 0.8))
    for recall, score, fp in (
        (0.1, 0.9, 0),
        (0.25, 0.9, 0),  # one of four
        (0.5, 0.6, 3),  # with the false one of the same score
        (0.75, 0.3, 3),
        (0.8, math.nan, math.nan),  # one dog is not found at all
    ):
        numbers = [values[f"{k}_recall{recall}"] for k in ("score_thr", "fp_per_image")]
        assert numbers == pytest.approx([score, fp / 2], abs=1e-6, nan_ok=True)
    assert math.isnan(values["bg_fp_per_image_recall0.8"])


def test_a_recall_is_reached_without_rounding_errors(evaluate):
    """7 of 25 are 0.28, although 0.28 · 25 is more than 7."""
    assert 0.28 * 25 > 7
    boxes = [([10.0 * i, 0, 10.0 * i + 9, 9], 0) for i in range(25)]
    found = [(*box, 0.5) for box in boxes[:7]]
    values = evaluate(image(found, boxes), recalls=(0.28,))
    assert values["score_thr_recall0.28"] == 0.5


def test_best_f1(evaluate):
    """F1 = 2 · right / (detections + boxes), by hand from the highest score down."""
    predictions = [
        (CAT, 0, 0.9),  # 2 · 1 / (1 + 2)
        (NOWHERE, 0, 0.7),  # not alone: the next has the same score
        (DOG, 1, 0.7),  # 2 · 2 / (3 + 2): the best
        (NOWHERE, 1, 0.1),  # 2 · 2 / (4 + 2)
    ]
    values = evaluate(image(predictions))
    assert values["best_f1"] == pytest.approx(0.8)
    assert values["precision_best_f1"] == pytest.approx(2 / 3)
    assert values["recall_best_f1"] == 1
    assert values["score_thr_best_f1"] == pytest.approx(0.7)


def test_equal_scores_are_not_parted_for_a_better_f1(evaluate):
    predictions = [(CAT, 0, 0.9), (DOG, 1, 0.7), *[(NOWHERE, 0, 0.7)] * 4]
    values = evaluate(image(predictions))
    # 2 · 1 / (1 + 2); from 0.7 on it is 2 · 2 / (6 + 2)
    assert values["score_thr_best_f1"] == pytest.approx(0.9)
    assert values["best_f1"] == pytest.approx(2 / 3)


def test_what_does_not_exist_is_nan(evaluate):
    without_predictions = evaluate(image([]))
    assert without_predictions["fp_per_image_score0.25"] == 0
    assert math.isnan(without_predictions["fp_per_empty_image_score0.25"])
    assert math.isnan(without_predictions["fp_per_image_recall0.5"])
    assert math.isnan(without_predictions["best_f1"])
    without_objects = evaluate(image([(NOWHERE, 0, 0.9)], boxes=()))
    assert without_objects["fp_per_empty_image_score0.25"] == 1
    assert math.isnan(without_objects["fp_per_image_recall0.5"])
    assert math.isnan(without_objects["best_f1"])


coordinates = st.sampled_from([0.0, 10, 20, 30])  # few, so that boxes often meet
boxes = st.builds(lambda x, y, w, h: [x, y, x + w + 10, y + h + 10], *[coordinates] * 4)
labels = st.integers(0, 1)
scores = st.sampled_from(SCORES)
images = st.builds(
    image,
    st.lists(st.tuples(boxes, labels, scores), max_size=12),
    st.lists(st.tuples(boxes, labels), max_size=6),
    st.lists(boxes, max_size=1),
)


def intersection(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def area(box) -> float:
    return intersection(box, box)


def kinds_at(sample, threshold) -> Counter:
    """How many there are of each kind from a score on, one box after the other."""

    def rows(instances, *keys):
        columns = (sample[instances][key].tolist() for key in keys)
        return list(zip(*columns, strict=True))

    numbers, taken = Counter(), set()
    predictions = rows("pred_instances", "bboxes", "labels", "scores")
    for box, label, score in sorted(predictions, key=lambda p: -p[2]):
        if score < threshold:
            continue
        own, other, best, best_free = [0], [0], None, 0
        for i, (truth, of) in enumerate(rows("gt_instances", "bboxes", "labels")):
            common = intersection(box, truth)
            iou = common / (area(box) + area(truth) - common)
            (own if of == label else other).append(iou)
            if of == label and i not in taken and iou > best_free:
                best, best_free = i, iou
        if best_free >= 0.5:
            taken.add(best)
            numbers["true"] += 1
        elif any(
            intersection(box, ignored) > 0.5 * area(box)
            for (ignored,) in rows("ignored_instances", "bboxes")
        ):
            continue
        elif 0.1 <= max(own) < 0.5:
            numbers["loc"] += 1
        elif max(other) >= 0.5:
            numbers["cls"] += 1
        elif max(own) >= 0.5:
            numbers["dup"] += 1
        elif max(own + other) < 0.1:
            numbers["bg"] += 1
        else:
            numbers["both"] += 1
    return numbers


@given(st.lists(images, min_size=1, max_size=3), st.sampled_from([0.2, 0.55, 0.9]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_images(evaluate, samples, recall):
    values = evaluate(*samples, recalls=(recall,), score_thrs=SCORES)
    numbers = {
        score: sum((kinds_at(s, score) for s in samples), Counter()) for score in SCORES
    }
    for score, number in numbers.items():
        false = number.total() - number["true"]
        assert values[f"fp_per_image_score{score:g}"] == false / len(samples)
        assert values[f"bg_fp_per_image_score{score:g}"] == number["bg"] / len(samples)
    num_boxes = sum(len(s["gt_instances"]["labels"]) for s in samples)
    reached = [s for s in SCORES if numbers[s]["true"] / max(num_boxes, 1) >= recall]
    score = max(reached, default=math.nan)
    assert values[f"score_thr_recall{recall}"] == pytest.approx(score, nan_ok=True)
    if not math.isnan(score):
        kinds = split(values, f"recall{recall}")
        total = values[f"fp_per_image_recall{recall}"]
        assert sum(kinds.values()) == pytest.approx(total)
        assert kinds == {
            kind: numbers[score][kind] / len(samples)
            for kind in KINDS
            if numbers[score][kind]
        }


def test_the_log_has_the_whole_split(monkeypatch, evaluate):
    messages = []
    monkeypatch.setattr(MMLogger, "info", lambda _, text: messages.append(text))
    evaluate(image([(CAT, 1, 0.9), (CAT, 0, 0.8)]), score_thrs=(0.25,))
    rows = {
        cells[1].strip(): [c.strip() for c in cells[2:-1]]
        for cells in (line.split("|") for line in messages[-1].splitlines())
        if len(cells) > 2
    }
    assert rows[""] == ["score0.25", "recall0.5", "best_f1"]
    assert rows["cls_fp_per_image"] == ["1.000"] * 3
    assert rows["recall"] == ["0.500"] * 3


def test_missing_ground_truth_is_named():
    sample = image([])
    sample["gt_instances"] = {}
    with pytest.raises(ValueError, match="LoadAnnotations"):
        BackgroundFPMetric().process({}, [sample])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(bg_iou_thr=0.6), r"bg_iou_thr=0\.6 and iou_thr=0\.5"),
        (dict(bg_iou_thr=0), r"bg_iou_thr=0 and iou_thr=0\.5"),
        (dict(score_thrs=(0.5, 25)), r"score_thrs .* got \(0\.5, 25\)"),
        (dict(recalls=(0, 0.5)), r"recalls .* got \(0, 0\.5\)"),
    ],
    ids=["order", "zero", "score", "recall"],
)
def test_wrong_values_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        BackgroundFPMetric(**settings)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("auto", "greater"),
        ("background/best_f1", "greater"),
        ("background/bg_fp_per_image_recall0.5", "less"),
        ("background/fp_per_empty_image_score0.25", "less"),
    ],
)
def test_save_best_knows_which_way_is_better(key, rule):
    """As after the first validation, of a config where this metric is the first."""
    values = BackgroundFPMetric()
    images = [image([(CAT, 0, 0.9), (NOWHERE, 0, 0.5)]), image([], boxes=())]
    values.process({}, images)
    metrics = values.evaluate(2)
    hook = CheckpointHook(interval=-1, save_best=key)
    runner = Mock()
    runner.message_hub = MessageHub.get_instance("save_best")
    hook.out_dir, hook.file_backend = "work_dirs", Mock()
    hook._save_best_checkpoint(runner, metrics)
    indicator = "background/best_f1" if key == "auto" else key
    assert hook.key_indicators == [indicator]
    assert hook.rules == [rule]
    assert runner.message_hub.get_info("best_score") == metrics[indicator]


def test_stock_rules_of_save_best_stay():
    for key in ("coco/bbox_mAP", "coco/bbox_mAP_s", "loss"):
        CheckpointHook(interval=1, save_best=key)
    with pytest.raises(ValueError, match="Cannot infer the rule"):
        CheckpointHook(interval=1, save_best="something")


def test_an_iou_of_the_threshold_is_enough(evaluate):
    half = ([10.0, 10, 30, 20], 0)  # IoU 0.5 with the cat
    sample = image([(*half, 0.9), (*half, 0.8), (DOG, 1, 0.5)])
    assert split(evaluate(sample, recalls=(1,)), "recall1") == {"dup": 1}
