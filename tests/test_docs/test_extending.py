"""The parts that docs/extending.md writes do what the page says."""

import numpy as np
import pytest
import torch
from mmengine import registry
from mmengine.registry import METRICS, MODELS, TASK_UTILS

from mmareaaware.models.losses import Positives
from tests.pages import blocks
from tests.test_models.test_dense_heads import heads_of_mmdet
from tests.test_models.test_dense_heads.heads_of_mmdet import (
    build_head,
    flat,
    ground_truth,
    outputs_of,
    step,
)

KIND = "RetinaSepBNHead"
RECIPE = "nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco.py"


@pytest.fixture(autouse=True)
def _parts_of_the_page(monkeypatch):
    """Registered for the time of a test."""
    before = {r: set(r.module_dict) for r in (MODELS, METRICS, TASK_UTILS)}
    for code in blocks("docs/extending.md", "python"):
        if "\nclass " in code:
            exec(compile(code, "docs/extending.md", "exec"), {"__name__": "my_parts"})
    monkeypatch.setitem(heads_of_mmdet.RECIPES, KIND, RECIPE)
    yield
    for r, names in before.items():
        for name in set(r.module_dict) - names:
            del r._module_dict[name]


def test_each_is_of_twenty_lines():
    for code in blocks("docs/extending.md", "python"):
        body = code.partition("@")[2]
        assert len(body.splitlines()) <= 24


def test_the_area_weight():
    weight = TASK_UTILS.build(dict(type="SigmoidAreaWeight", side=24.0, high=3.0))
    areas = torch.tensor([0.0, 24.0**2, 1e6], dtype=torch.float64)
    small, middle, large = weight(Positives(areas)).tolist()
    assert middle == pytest.approx(2)
    assert large == pytest.approx(1)
    assert 2.9 < small < 3
    with pytest.raises(ValueError, match="side > 0"):
        registry.TASK_UTILS.build(dict(type="SigmoidAreaWeight", side=0))


def losses_of(is_stock: bool = False, **options):
    head = build_head(KIND, is_stock=True) if is_stock else build_head(KIND, **options)
    return step(head, outputs_of(KIND), ground_truth())


def test_the_head_is_the_stock_head_and_takes_weight_and_penalty():
    expected, expected_grads = losses_of(is_stock=True)
    losses, grads = losses_of(area_weight=None)
    assert all(torch.equal(flat(losses[k]), flat(expected[k])) for k in expected)
    assert all(map(torch.equal, grads, expected_grads))
    weight = dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0)
    weighed, weighed_grads = losses_of(
        area_weight=weight, loss_bg=dict(type="BgPenaltyLoss", lambda_bg=1.0)
    )
    assert weighed["loss_bg"] > 0
    assert not all(map(torch.equal, weighed_grads, expected_grads))


def sample(boxes, scores) -> dict:
    ends = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return dict(
        pred_instances=dict(
            bboxes=ends,
            labels=torch.zeros(len(ends), dtype=torch.long),
            scores=torch.tensor(scores),
        ),
        gt_instances=dict(
            bboxes=torch.tensor([[0.0, 0, 10, 10]]), labels=torch.zeros(1).long()
        ),
        ignored_instances=dict(bboxes=torch.zeros(0, 4)),
    )


def test_the_metric():
    metric = METRICS.build(dict(type="DuplicatesMetric", score_thr=0.5))
    box = [0, 0, 10, 10]
    metric.process({}, [sample([box, box, box], [0.9, 0.8, 0.3])])
    metric.process({}, [sample([box, [50, 50, 60, 60]], [0.9, 0.8])])
    assert metric.evaluate(2) == {"duplicates/per_image": np.float64(0.5)}
