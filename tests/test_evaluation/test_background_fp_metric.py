import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmareaaware.evaluation import BackgroundFPMetric

CAT = [10.0, 10, 30, 30]
DOG = [60.0, 60, 90, 90]


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


def evaluate(*images, **settings) -> dict:
    metric = BackgroundFPMetric(**settings)
    metric.process({}, images)
    values = metric.evaluate(len(images))
    return {k.removeprefix("background/"): v for k, v in values.items()}


@pytest.mark.parametrize(
    ("prediction", "fp", "bg_fp"),
    [
        ((CAT, 0, 0.9), 0, 0),
        ((CAT, 1, 0.9), 1, 0),  # wrong class: a false positive, not on background
        (([12.0, 10, 32, 30], 0, 0.9), 0, 0),  # IoU 0.82
        (([22.0, 10, 42, 30], 0, 0.9), 1, 0),  # IoU 0.25
        (([28.0, 10, 48, 30], 0, 0.9), 1, 1),  # IoU 0.05
        (([100.0, 100, 120, 120], 0, 0.9), 1, 1),
        (([100.0, 100, 120, 120], 0, 0.1), 0, 0),  # below the threshold
    ],
)
def test_one_prediction(prediction, fp, bg_fp):
    values = evaluate(image([prediction]))
    assert (values["fp_per_image"], values["bg_fp_per_image"]) == (fp, bg_fp)


def test_a_box_is_matched_once_by_the_highest_score():
    values = evaluate(image([(CAT, 0, 0.5), (CAT, 0, 0.9), (DOG, 1, 0.9)]))
    assert values["fp_per_image"] == 1
    assert values["bg_fp_per_image"] == 0


def test_detections_in_ignored_regions_do_not_count():
    inside = ([102.0, 102, 110, 110], 0, 0.9)
    values = evaluate(image([inside], ignored=[[100.0, 100, 120, 120]]))
    assert values["fp_per_image"] == 0


def test_averages_over_images_with_and_without_objects():
    nothing = ([100.0, 100, 120, 120], 0, 0.9)
    values = evaluate(
        image([nothing, (CAT, 0, 0.9)]),
        image([nothing, nothing], boxes=()),
        image([], boxes=()),
    )
    assert values["fp_per_image"] == 1
    assert values["bg_fp_per_image"] == 1
    assert values["fp_per_empty_image"] == 1
    assert math.isnan(evaluate(image([nothing]))["fp_per_empty_image"])


def test_missing_ground_truth_is_named():
    sample = image([])
    sample["gt_instances"] = {}
    with pytest.raises(ValueError, match="LoadAnnotations"):
        BackgroundFPMetric().process({}, [sample])


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match=r"bg_iou_thr=0\.6 and iou_thr=0\.5"):
        BackgroundFPMetric(bg_iou_thr=0.6)
