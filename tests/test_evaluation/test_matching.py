import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from mmareaaware.evaluation import IGNORED, KINDS, TRUE_POSITIVE, match, read_sample

BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float)


def test_kinds_and_boxes_in_the_order_of_the_detections():
    """The second detection of a box comes first, with the lower score."""
    pred = dict(
        bboxes=np.array(
            [BOXES[0], BOXES[0], BOXES[1], BOXES[1], [90, 90, 99, 99], [50, 50, 52, 52]]
        ),
        labels=np.array([0, 0, 1, 0, 0, 0]),
        scores=np.array([0.3, 0.9, 0.5, 0.8, 0.7, 0.6]),
    )
    gt = dict(bboxes=BOXES, labels=np.array([0, 1]))
    kinds, boxes = match(pred, gt, ignored=np.array([[40.0, 40, 60, 60]]))
    names = [*KINDS, "true", "ignored"]
    assert (TRUE_POSITIVE, IGNORED) == (5, 6)
    assert [names[k] for k in kinds] == ["dup", "true", "true", "cls", "bg", "ignored"]
    assert boxes.tolist() == [-1, 0, 1, -1, -1, -1]


@pytest.mark.parametrize(("num_pred", "num_gt"), [(0, 0), (0, 2), (1, 0)])
def test_nothing_to_match(num_pred, num_gt):
    pred = dict(
        bboxes=BOXES[:num_pred],
        labels=np.zeros(num_pred, int),
        scores=np.ones(num_pred),
    )
    gt = dict(bboxes=BOXES[:num_gt], labels=np.zeros(num_gt, int))
    kinds, boxes = match(pred, gt, ignored=np.zeros((0, 4)))
    assert [KINDS[k] for k in kinds] == ["bg"] * num_pred
    assert boxes.tolist() == [-1] * num_pred


def test_a_sample_with_box_types_and_masks():
    sample = DetDataSample()
    boxes = torch.tensor(BOXES, dtype=torch.float32)
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(boxes), labels=torch.tensor([0, 1]), masks=["?", "?"]
    )
    sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(boxes[:1]))
    sample.pred_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([1, 0]), scores=torch.tensor([0.5, 0.25])
    )
    pred, gt, ignored = read_sample(sample.to_dict())
    assert pred["scores"].tolist() == [0.5, 0.25]
    assert gt["bboxes"].tolist() == pred["bboxes"].tolist() == BOXES.tolist()
    assert gt["labels"].tolist() == [0, 1]
    assert ignored.tolist() == BOXES[:1].tolist()
