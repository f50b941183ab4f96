"""How right pseudo-boxes are, by hand."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData

from mmareaaware.engine import PseudoLabelMonitorHook
from mmareaaware.engine.hooks.pseudo_label_monitor_hook import judge
from mmareaaware.models.semi import FixedThresholds, PseudoLabels


def instances(boxes, labels, **more) -> InstanceData:
    return InstanceData(
        bboxes=torch.tensor(boxes).float().view(-1, 4),
        labels=torch.tensor(labels).long(),
        **more,
    )


TRUE = instances(
    [[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70], [80, 0, 90, 10]], [0, 1, 0, 2]
)
# The same, 0.8 of it, found already, of another class, on background; uncertain
FOUND = instances(
    [
        [0, 0, 10, 10],
        [20, 20, 40, 36],
        [0, 0, 10, 9],
        [80, 0, 90, 10],
        [40, 60, 50, 70],
        [60, 60, 70, 70],
    ],
    [0, 1, 0, 1, 0, 0],
    scores=torch.tensor([0.9, 0.8, 0.7, 0.9, 0.7, 0.4]),
)
IS_PSEUDO = FOUND.scores > 0.6
NONE = instances([], [])
NOT_FOUND = instances([], [], scores=torch.zeros(0))


def test_judge():
    pseudo = FOUND[IS_PSEUDO]
    assert judge(pseudo, TRUE) == pytest.approx((5, 4, 2, 1.8))
    assert judge(NOT_FOUND, TRUE) == (0, 4, 0, 0)
    assert judge(pseudo, NONE) == (5, 0, 0, 0)
    assert judge(NOT_FOUND, NONE) == (0, 0, 0, 0)


def logged(found, truths, **settings) -> dict:
    """Of one iteration with these images."""
    is_pseudo = [image.scores > 0.6 for image in found]
    rule = FixedThresholds(0.6)
    rule.set_num_classes(3)
    values = {}
    runner = SimpleNamespace(
        model=SimpleNamespace(
            lambda_u=1.0,
            pseudo_labeller=SimpleNamespace(thresholds=rule),
            last_pseudo_labels=PseudoLabels(found, is_pseudo, *[torch.zeros(0)] * 4),
        ),
        hooks=[],
        iter=0,
        max_iters=1,
        train_dataloader=SimpleNamespace(dataset=None),
        message_hub=SimpleNamespace(update_scalar=values.__setitem__),
    )
    hook = PseudoLabelMonitorHook(interval=1, **settings)
    hook.before_train(runner)
    samples = [None, *(SimpleNamespace(gt_instances=truth) for truth in truths)]
    hook.after_train_iter(runner, 0, dict(data_samples=dict(unsup_teacher=samples)))
    return {name.removeprefix("train/"): value for name, value in values.items()}


def test_what_is_logged():
    """Over all images, not the mean of theirs."""
    assert logged([FOUND, NOT_FOUND, FOUND], [TRUE, TRUE, NONE]) == pytest.approx(
        dict(
            pseudo_boxes=10 / 3,
            uncertain_boxes=2 / 3,
            pseudo_score=0.8,
            pseudo_threshold=0.6,
            pseudo_precision=2 / 10,
            pseudo_recall=2 / 8,
            pseudo_iou=0.9,
            pseudo_boxes_0=2,
            pseudo_boxes_1=4 / 3,
            pseudo_boxes_2=0,
            pseudo_threshold_0=0.6,
            pseudo_threshold_1=0.6,
            pseudo_threshold_2=0.6,
        )
    )


@pytest.mark.parametrize(
    ("found", "truth", "settings", "expected"),
    [
        (FOUND, TRUE, dict(has_truth=False), dict(pseudo_score=0.8)),
        (NOT_FOUND, TRUE, {}, dict(pseudo_recall=0)),
        (FOUND, NONE, {}, dict(pseudo_score=0.8, pseudo_precision=0)),
        (NOT_FOUND, NONE, {}, {}),
    ],
    ids=["not known", "nothing found", "no object", "neither"],
)
def test_what_there_is_nothing_of_is_not_logged(found, truth, settings, expected):
    values = logged([found], [truth], max_classes=0, **settings)
    for name in ("pseudo_boxes", "uncertain_boxes", "pseudo_threshold"):
        del values[name]
    assert values == pytest.approx(expected)
