import json
import math
import re

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmareaaware.evaluation import SizeBinnedCocoMetric
from mmareaaware.evaluation.size_binned_coco_metric import EVALUATORS

CLASSES = ("car", "person", "dog", "boat")
CATEGORY_IDS = (7, 3, 12, 5)  # neither sorted nor without gaps
WIDTH, HEIGHT = 400, 100  # the root of the area: 200 px
each_evaluator = pytest.mark.parametrize(
    "evaluator", ["pycocotools", "faster_coco_eval"]
)


def annotation(image, box, label=0, crowd=0) -> dict:
    """An annotation, its box as (x, y, w, h)."""
    return dict(image=image, box=list(map(float, box)), label=label, crowd=crowd)


def detection(image, box, label=0, score=0.5) -> dict:
    """A detection, its box as (x, y, w, h)."""
    return dict(image=image, box=list(map(float, box)), label=label, score=score)


def to_coco(annotations, num_images, classes=CLASSES) -> dict:
    return dict(
        images=[dict(id=i, width=WIDTH, height=HEIGHT) for i in range(num_images)],
        categories=[
            dict(id=i, name=name)
            for i, name in zip(CATEGORY_IDS, classes, strict=False)
        ],
        annotations=[
            dict(
                id=i,
                image_id=a["image"],
                bbox=a["box"],
                area=a["box"][2] * a["box"][3],
                category_id=CATEGORY_IDS[a["label"]],
                iscrowd=a["crowd"],
            )
            for i, a in enumerate(annotations, 1)
        ],
    )


def xyxy(box) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y + h]


def samples(annotations, detections, num_images) -> list[dict]:
    """What a detector hands to the metric."""

    def sample(image):
        pred = [d for d in detections if d["image"] == image]
        boxes = [xyxy(d["box"]) for d in pred]
        return dict(
            img_id=image,
            ori_shape=(HEIGHT, WIDTH),
            pred_instances=dict(
                bboxes=torch.tensor(boxes).view(-1, 4),
                labels=torch.tensor([d["label"] for d in pred], dtype=torch.long),
                scores=torch.tensor([d["score"] for d in pred]),
            ),
            instances=[
                dict(bbox=xyxy(a["box"]), bbox_label=a["label"], ignore_flag=a["crowd"])
                for a in annotations
                if a["image"] == image
            ],
        )

    return [sample(i) for i in range(num_images)]


@pytest.fixture
def evaluate(tmp_path):
    """Runs a metric, by default ours."""

    def run(
        annotations,
        detections,
        num_images=1,
        cls=SizeBinnedCocoMetric,
        classes=CLASSES,
        with_file=True,
        **settings,
    ) -> dict[str, float]:
        if with_file:
            path = tmp_path / "annotations.json"
            path.write_text(json.dumps(to_coco(annotations, num_images, classes)))
            settings["ann_file"] = str(path)
        metric = cls(**settings)
        metric.dataset_meta = dict(classes=classes)
        metric.process({}, samples(annotations, detections, num_images))
        values = metric.evaluate(num_images)
        return {k.removeprefix("coco/"): v for k, v in values.items()}

    return run


NUM_IMAGES = 15


@pytest.fixture(scope="module")
def crowded() -> tuple[list[dict], list[dict]]:
    """Random objects of all sizes, some of them crowds, and random detections."""
    rng = np.random.default_rng(0)
    annotations, detections = [], []
    for image in range(NUM_IMAGES):
        for _ in range(rng.integers(0, 25)):
            # Whole and half pixels: exact in the float32 of the predictions
            side = np.round(np.exp(rng.uniform(1, 5.3, 2)) * 2) / 2
            corner = np.round(rng.uniform(0, (WIDTH, HEIGHT)))
            label = rng.integers(len(CLASSES) - 1)  # no boat
            box = np.concatenate([corner, side])
            crowd = int(rng.random() < 0.15)
            annotations.append(annotation(image, box, int(label), crowd))
            for _ in range(rng.integers(0, 8)):
                shift = np.round(rng.normal(0, 0.12, 4) * side[[0, 1, 0, 1]] * 4) / 4
                shifted = np.maximum(box + shift, 0.5)
                if rng.random() < 0.1:
                    label = rng.integers(len(CLASSES))
                score = float(np.float32(np.round(rng.random(), 2)))  # with ties
                detections.append(detection(image, shifted, int(label), score))
    return annotations, detections


def reference(annotations, detections, num_images, label=None) -> COCOeval:
    """What pycocotools says, on its own."""
    truth = COCO()
    truth.dataset = to_coco(annotations, num_images)
    truth.createIndex()
    results = [
        dict(
            image_id=d["image"],
            bbox=d["box"],
            category_id=CATEGORY_IDS[d["label"]],
            score=d["score"],
        )
        for d in detections
    ]
    coco_eval = COCOeval(truth, truth.loadRes(results), "bbox")
    if label is not None:
        coco_eval.params.catIds = [CATEGORY_IDS[label]]
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    return coco_eval


@each_evaluator
def test_the_coco_bins_give_the_numbers_of_pycocotools(evaluate, crowded, evaluator):
    values = evaluate(*crowded, NUM_IMAGES, evaluator=evaluator)
    coco_eval = reference(*crowded, NUM_IMAGES)
    stats = dict(
        zip(
            ["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75"]
            + ["bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l", "", "", "bbox_AR"]
            + ["bbox_AR_s", "bbox_AR_m", "bbox_AR_l"],
            coco_eval.stats,
            strict=True,
        )
    )
    stats.pop("")
    assert all(0 < v < 1 for v in stats.values())
    for size, suffix in enumerate(["", "_s", "_m", "_l"]):
        recall = coco_eval.eval["recall"][0, :, size, -1]
        stats[f"bbox_recall_50{suffix}"] = recall[recall > -1].mean()
    assert {k: values[k] for k in stats} == pytest.approx(stats, abs=1e-6)


def test_the_evaluators_agree_at_any_bins(evaluate, crowded):
    settings = dict(size_bins=(8.5, 20, 45.5), max_dets=7, classwise=True)
    one, other = (
        evaluate(*crowded, NUM_IMAGES, evaluator=name, **settings)
        for name in ("pycocotools", "faster_coco_eval")
    )
    assert one == pytest.approx(other, abs=1e-6, nan_ok=True)
    assert sum(math.isfinite(v) for v in one.values()) > 30


def test_the_names_of_the_stock_metric_mean_what_they_mean_there(evaluate, crowded):
    stock = evaluate(
        *crowded, NUM_IMAGES, CocoMetric, proposal_nums=(100, 1, 10), classwise=True
    )
    # As a config has it where the type alone is replaced
    ours = evaluate(
        *crowded, NUM_IMAGES, metric="bbox", proposal_nums=(100, 1, 10), classwise=True
    )
    assert len(stock) == 6 + len(CLASSES)
    assert stock.keys() <= ours.keys()
    for name in stock.keys() - {f"{c}_precision" for c in CLASSES}:
        assert ours[name] == pytest.approx(stock[name], abs=6e-4)  # it rounds


@pytest.mark.parametrize(
    "base",
    [
        "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py",
        "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    ],
    ids=["mmyolo", "mmdet"],
)
def test_the_type_alone_swaps_it_in_a_stock_recipe(tmp_path, base):
    (tmp_path / "annotations.json").write_text(json.dumps(to_coco([], 1)))
    (tmp_path / "config.py").write_text(
        f"_base_ = {base!r}\nval_evaluator = dict(type='SizeBinnedCocoMetric')"
    )
    cfg = Config.fromfile(tmp_path / "config.py")
    cfg.val_evaluator.ann_file = str(tmp_path / "annotations.json")
    metric = METRICS.build(cfg.val_evaluator)
    assert isinstance(metric, SizeBinnedCocoMetric)


def test_classes_have_their_own_numbers(evaluate, crowded):
    values = evaluate(*crowded, NUM_IMAGES, classwise=True)
    for label, name in enumerate(CLASSES[:-1]):
        stats = reference(*crowded, NUM_IMAGES, label).stats
        names = [f"{name}_precision{suffix}" for suffix in ("", "_s", "_m", "_l")]
        expected = dict(zip(names, stats[[0, 3, 4, 5]], strict=True))
        assert {k: values[k] for k in names} == pytest.approx(expected, abs=1e-6)
    for value in ("precision_50", "AR", "recall_50_s"):  # a mean over the classes
        mean = np.mean([values[f"{name}_{value}"] for name in CLASSES[:-1]])
        of_all = f"bbox_{value.replace('precision', 'mAP')}"
        assert values[of_all] == pytest.approx(mean, abs=1e-6)
    assert math.isnan(values["boat_precision"])  # there is none


@each_evaluator
@pytest.mark.parametrize("min_boxes", [1, 25])
def test_rare_classes_are_left_out_of_the_means(
    evaluate, crowded, min_boxes, evaluator
):
    values = evaluate(
        *crowded, NUM_IMAGES, classwise=True, min_boxes=min_boxes, evaluator=evaluator
    )
    areas = [
        [a["box"][2] * a["box"][3] for a in crowded[0] if a["label"] == label]
        for label, _ in enumerate(CLASSES)
    ]
    crowds = [[a["crowd"] for a in crowded[0] if a["label"] == i] for i in range(4)]
    kept = []
    for suffix, low, high in (("", 0, 1e10), ("_s", 0, 32**2), ("_m", 32**2, 96**2)):
        counted = []
        for name, sizes, is_crowd in zip(CLASSES, areas, crowds, strict=True):
            pairs = zip(sizes, is_crowd, strict=True)
            number = sum(low <= size <= high and not crowd for size, crowd in pairs)
            assert values[f"{name}_boxes{suffix}"] == number
            if number >= min_boxes:
                counted.append(values[f"{name}_precision{suffix}"])
        mean = np.mean(counted) if counted else math.nan
        assert values[f"bbox_mAP{suffix}"] == pytest.approx(mean, nan_ok=True)
        kept.append(len(counted))
    assert kept == {1: [3, 3, 3], 25: [3, 2, 0]}[min_boxes]


@each_evaluator
def test_ground_truth_of_the_data_samples_will_do(evaluate, crowded, evaluator):
    with_file = evaluate(*crowded, NUM_IMAGES, classwise=True, evaluator=evaluator)
    without = evaluate(
        *crowded, NUM_IMAGES, with_file=False, classwise=True, evaluator=evaluator
    )
    assert without == pytest.approx(with_file, abs=1e-6, nan_ok=True)


@each_evaluator
def test_own_edges_by_hand(evaluate, evaluator):
    """Two tiny objects, one found; one middle one, found badly; no big one."""
    annotations = [
        annotation(0, (0, 0, 10, 10)),
        annotation(0, (50, 0, 10, 10)),
        annotation(0, (100, 0, 20, 30)),
    ]
    detections = [
        detection(0, (0, 0, 10, 10), score=0.9),
        detection(0, (100, 0, 20, 18), score=0.8),  # IoU 0.6: right up to 0.60
        detection(0, (300, 0, 50, 50), score=0.7),  # nothing there
    ]
    values = evaluate(annotations, detections, size_bins=(12, 40), evaluator=evaluator)
    # Of the 101 recall points of COCO, those up to the recall have precision 1.
    half, two_thirds, third = 51 / 101, 67 / 101, 34 / 101
    expected = {
        "bbox_mAP": 0.3 * two_thirds + 0.7 * third,
        "bbox_mAP_0-12": half,
        "bbox_mAP_12-40": 0.3,  # at 3 of the 10 IoUs
        "bbox_mAP_40-inf": math.nan,
        "bbox_mAP_50": two_thirds,
        "bbox_mAP_50_0-12": half,
        "bbox_mAP_50_12-40": 1,
        "bbox_mAP_50_40-inf": math.nan,
        "bbox_AR": 0.3 * 2 / 3 + 0.7 / 3,
        "bbox_AR_0-12": 0.5,
        "bbox_AR_12-40": 0.3,
        "bbox_AR_40-inf": math.nan,
        "bbox_recall_50": 2 / 3,
        "bbox_recall_50_0-12": 0.5,
        "bbox_recall_50_12-40": 1,
        "bbox_recall_50_40-inf": math.nan,
        "bbox_mAP_75": third,
    }
    assert values == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("with_file", [True, False], ids=["file", "samples"])
@each_evaluator
def test_relative_edges_by_hand(evaluate, evaluator, with_file):
    """The root of the area of the image is 200 px: 10 and 60 px are 0.05 and 0.3."""
    annotations = [
        annotation(0, (0, 0, 10, 10)),
        annotation(0, (100, 0, 60, 60)),
    ]
    found = detection(0, (100, 0, 60, 60), score=0.9)
    nothing = detection(0, (300, 0, 18, 18), score=0.95)  # 0.09: among the small
    values = evaluate(
        annotations,
        [found, nothing],
        size_bins=(0.1, 0.2),
        relative=True,
        evaluator=evaluator,
        with_file=with_file,
    )
    assert values["bbox_recall_50_0-0.1"] == 0
    assert math.isnan(values["bbox_recall_50_0.1-0.2"])
    assert values["bbox_recall_50_0.2-inf"] == 1
    assert values["bbox_mAP_0.2-inf"] == pytest.approx(1)  # 'nothing' is not its size
    assert values["bbox_mAP_50"] == pytest.approx(0.5 * 51 / 101)


def test_relative_edges_hold_in_later_evaluations(tmp_path):
    path = tmp_path / "annotations.json"
    annotations = [annotation(0, (0, 0, 60, 60))]
    detections = [detection(0, (0, 0, 60, 60))]
    path.write_text(json.dumps(to_coco(annotations, 1)))
    metric = SizeBinnedCocoMetric(str(path), (0.2,), relative=True)
    metric.dataset_meta = dict(classes=CLASSES)
    for _ in range(2):
        metric.process({}, samples(annotations, detections, 1))
        values = metric.evaluate(1)
        assert values["coco/bbox_mAP_0.2-inf"] == pytest.approx(1)
        assert math.isnan(values["coco/bbox_mAP_0-0.2"])


def test_aitod_bins(evaluate):
    sides = (6, 12, 24, 48, 80)
    boxes = [(90 * i, 0, side, side) for i, side in enumerate(sides)]
    bins = ("vt", "t", "s", "m", "l")
    for name, box in zip(bins, boxes, strict=True):
        values = evaluate(
            [annotation(0, b) for b in boxes], [detection(0, box)], size_bins="aitod"
        )
        found = {b for b in bins if values[f"bbox_recall_50_{b}"] == 1}
        assert found == {name}


@each_evaluator
@pytest.mark.parametrize("max_dets", [100, 300])
def test_crowded_images_need_max_dets(evaluate, evaluator, max_dets):
    boxes = [(6 * (i % 60), 6 * (i // 60), 5, 5) for i in range(300)]
    values = evaluate(
        [annotation(0, box) for box in boxes],
        [detection(0, box) for box in boxes],
        max_dets=max_dets,
        evaluator=evaluator,
    )
    assert values["bbox_recall_50"] == pytest.approx(max_dets / 300)
    assert values["bbox_AR_s"] == pytest.approx(max_dets / 300)


@each_evaluator
@pytest.mark.parametrize("with_file", [True, False], ids=["file", "samples"])
def test_no_predictions_is_zero(evaluate, evaluator, with_file):
    values = evaluate(
        [annotation(0, (0, 0, 10, 10))],
        [],
        num_images=2,
        evaluator=evaluator,
        with_file=with_file,
        classes=CLASSES[:1],
    )
    names = ("mAP", "mAP_50", "AR", "recall_50")
    assert all(values[f"bbox_{name}"] == 0 for name in names)
    assert all(values[f"bbox_{name}_s"] == 0 for name in names)
    assert all(math.isnan(values[f"bbox_{name}_l"]) for name in names)


@each_evaluator
@pytest.mark.parametrize("with_file", [True, False], ids=["file", "samples"])
def test_no_objects_is_nan(evaluate, evaluator, with_file):
    values = evaluate(
        [],
        [detection(0, (0, 0, 10, 10))],
        num_images=2,
        evaluator=evaluator,
        with_file=with_file,
    )
    assert len(values) == 17
    assert all(math.isnan(value) for value in values.values())


def test_the_log_has_the_evaluator_and_a_table(evaluate, crowded, monkeypatch):
    messages = []
    monkeypatch.setattr(MMLogger, "info", lambda _, text: messages.append(text))
    values = evaluate(*crowded, NUM_IMAGES, evaluator="pycocotools", classwise=True)
    text = "\n".join(messages)
    assert "with pycocotools" in text
    ap, small = (f"{values[f'car_precision{suffix}']:.3f}" for suffix in ("", "_s"))
    assert re.search(rf"\| car +\| all +\| {ap} ", text)
    assert re.search(rf"\| car +\| s +\| {small} ", text)
    assert re.search(rf"\| all +\| l +\| {values['bbox_mAP_l']:.3f} ", text)


def test_the_faster_evaluator_is_taken_where_there_is_one(monkeypatch):
    assert SizeBinnedCocoMetric().evaluator == "faster_coco_eval"
    monkeypatch.delitem(EVALUATORS, "faster_coco_eval")
    assert SizeBinnedCocoMetric().evaluator == "pycocotools"
    with pytest.raises(ValueError, match="got 'faster_coco_eval'"):
        SizeBinnedCocoMetric(evaluator="faster_coco_eval")


def test_categories_in_another_order_are_noticed(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "warning", said.append)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(to_coco([annotation(0, [0, 0, 9, 9])], 1)))
    for classes in (CLASSES, CLASSES[::-1]):
        assert not said
        metric = SizeBinnedCocoMetric(ann_file=str(path))
        metric.dataset_meta = dict(classes=classes)
        metric.process({}, samples([], [], 1))
        metric.evaluate(1)
    (text,) = said
    assert f"have the categories {list(CLASSES)}, the classes are" in text


def test_image_ids_may_be_strings(tmp_path):
    """The faster evaluator knows numbers only."""
    box = [10, 10, 20, 20]
    truth = to_coco([annotation(0, box)], 1)
    (sample,) = samples([], [detection(0, box)], 1)
    truth["images"][0]["id"] = truth["annotations"][0]["image_id"] = "first"
    sample["img_id"] = "first"
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    metric = SizeBinnedCocoMetric(ann_file=str(tmp_path / "truth.json"))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [sample])
    assert metric.evaluate(1)["coco/bbox_mAP"] == pytest.approx(1)


@each_evaluator
def test_the_evaluator_asked_for_is_the_one_that_runs(evaluate, evaluator, monkeypatch):
    def refuse(*_):
        raise RuntimeError(evaluator)

    monkeypatch.setitem(EVALUATORS, evaluator, refuse)
    with pytest.raises(RuntimeError, match=evaluator):
        evaluate([], [], evaluator=evaluator)


def test_format_only_writes_the_predictions(evaluate, tmp_path):
    values = evaluate(
        [annotation(0, (0, 0, 10, 10))],
        [detection(0, (0, 0, 10, 10))],
        format_only=True,
        outfile_prefix=str(tmp_path / "out"),
    )
    assert values == {}
    (line,) = json.loads((tmp_path / "out.bbox.json").read_text())
    assert line["category_id"] == CATEGORY_IDS[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(size_bins="voc"), "got 'voc'"),
        (dict(size_bins=()), r"got \[\]"),
        (dict(size_bins=(40, 12)), r"got \[40, 12\]"),
        (dict(size_bins=(0, 12)), r"got \[0, 12\]"),
        (dict(relative=True), "got 'coco' and relative=True"),
        (dict(size_bins=(0.1, 8), relative=True), r"got \[0.1, 8\] and relative=True"),
        (dict(max_dets=0), "max_dets must be at least 1, got 0"),
        (dict(evaluator="coco"), "got 'coco'"),
        (dict(metric="segm"), "'segm'"),
        (dict(iou_thrs=[0.5]), "'iou_thrs'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(dict(type="SizeBinnedCocoMetric", **settings))


def test_no_annotations_at_all_says_where_they_come_from():
    sample = samples([annotation(0, (10, 10, 20, 20))], [], 1)[0]
    del sample["instances"]
    metric = SizeBinnedCocoMetric()
    with pytest.raises(ValueError, match=r"PackDetInputs\(meta_keys=\(.*'instances'"):
        metric.process({}, [sample])


@each_evaluator
def test_annotations_without_area_and_iscrowd(tmp_path, evaluator):
    boxes = [annotation(0, (10, 10, 20, 20)), annotation(0, (60, 10, 100, 80))]
    found = [detection(0, (10, 10, 20, 20)), detection(0, (200, 10, 20, 20))]
    whole, bare = tmp_path / "whole.json", tmp_path / "bare.json"
    content = to_coco(boxes, 1)
    whole.write_text(json.dumps(content))
    for item in content["annotations"]:
        del item["area"], item["iscrowd"]
    bare.write_text(json.dumps(content))
    results = []
    for path in (whole, bare):
        metric = SizeBinnedCocoMetric(ann_file=str(path), evaluator=evaluator)
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, samples(boxes, found, 1))
        results.append(metric.evaluate(1))
    assert results[0]["coco/bbox_recall_50_s"] == 1
    assert results[0]["coco/bbox_recall_50_m"] == 0
    np.testing.assert_equal(results[1], results[0])


@each_evaluator
def test_an_object_on_an_edge_counts_in_both_bins(evaluate, evaluator):
    box = (0, 0, 32, 32)
    values = evaluate(
        [annotation(0, box)], [detection(0, box)], classwise=True, evaluator=evaluator
    )
    assert [values[f"car_boxes{b}"] for b in ("", "_s", "_m", "_l")] == [1, 1, 1, 0]
    assert values["bbox_mAP_s"] == values["bbox_mAP_m"] == pytest.approx(1)
    assert math.isnan(values["bbox_mAP_l"])
