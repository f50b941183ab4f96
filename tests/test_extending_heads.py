"""The head that docs/extending_heads.md shows how to write, as it is written there."""

import re

import pytest
import torch
from mmdet.models.dense_heads import DDODHead
from mmengine.registry import MODELS

from tests.test_models.test_dense_heads import heads_of_mmdet
from tests.test_models.test_dense_heads.heads_of_mmdet import (
    NUM_CLASSES,
    build_head,
    flat,
    flatten,
    ground_truth,
    outputs_of,
    step,
)

STRONG = dict(area_weight=dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0))
KIND = "DDODHead"


@pytest.fixture(autouse=True)
def _head_of_the_page(root, monkeypatch):
    """Registered for the time of a test."""
    monkeypatch.setitem(heads_of_mmdet.RECIPES, KIND, "ddod/ddod_r50_fpn_1x_coco.py")
    page = (root / "docs/extending_heads.md").read_text()
    (code,) = (
        b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "class" in b
    )
    exec(compile(code, "docs/extending_heads.md", "exec"), {"__name__": "my_heads"})
    yield
    del MODELS._module_dict[f"AreaAware{KIND}"]


def our_step(**options):
    return step(build_head(KIND, **options), outputs_of(KIND), ground_truth())


def areas_of(boxes):
    x1, y1, x2, y2 = boxes.double().unbind(1)
    return (x2 - x1) * (y2 - y1)


def stock_step():
    return step(build_head(KIND, is_stock=True), outputs_of(KIND), ground_truth())


@pytest.mark.parametrize(
    "neutral", [dict(area_weight=None), dict(strength=0.0, **STRONG)]
)
def test_neutral_equals_the_stock_head_bit_for_bit(neutral):
    expected, expected_grads = stock_step()
    losses, grads = our_step(**neutral)
    assert all(torch.equal(flat(losses[k]), flat(expected[k])) for k in expected)
    for grad, of_stock in zip(grads, expected_grads, strict=True):
        assert torch.equal(grad, of_stock)


def test_gradients_of_positives_grow_by_phi_and_no_others(monkeypatch):
    kept = []
    inner = DDODHead.get_cls_targets

    def listen(self, *args, **kwargs):
        kept.append(inner(self, *args, **kwargs))
        return kept[-1]

    monkeypatch.setattr(DDODHead, "get_cls_targets", listen)
    _, expected = stock_step()
    anchors, labels, _, deltas, *_ = (torch.cat(x, 1) for x in kept[0][:5])
    positive = labels < NUM_CLASSES
    decode = build_head(KIND, is_stock=True).bbox_coder.decode
    areas = areas_of(decode(anchors[positive], deltas[positive]))
    of_truth = areas_of(torch.cat([gt.bboxes for gt in ground_truth()[0]]))
    error, nearest = (areas[:, None] / of_truth - 1).abs().min(1)
    assert error.max() < 1e-4
    phi = (32**2 / of_truth[nearest]).clamp(1, 50)
    assert phi.max() > 1.5

    losses, grads = our_step(normalize="none", **STRONG)
    num_levels = len(kept[0][0])
    ours = flatten(grads[:num_levels], NUM_CLASSES)
    stock = flatten(expected[:num_levels], NUM_CLASSES)
    assert torch.equal(ours[~positive], stock[~positive])
    torch.testing.assert_close(
        ours[positive].double(),
        stock[positive].double() * phi[:, None],
        rtol=1e-5,
        atol=0,
    )
    for grad, of_stock in zip(grads[num_levels:], expected[num_levels:], strict=True):
        assert torch.equal(grad, of_stock)
    torch.testing.assert_close(
        losses["area_weight_mean"].double(), phi.mean(), rtol=1e-5, atol=0
    )


def test_a_head_that_does_not_say_where_its_targets_are_is_told():
    from mmareaaware.models import AreaAwareDenseHeadMixin

    silent = type("SilentHead", (AreaAwareDenseHeadMixin, DDODHead), {})
    head = build_head(KIND)
    head.__class__ = silent
    with pytest.raises(RuntimeError, match="SilentHead never called weigh_levels"):
        step(head, outputs_of(KIND), ground_truth())
