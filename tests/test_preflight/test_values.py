"""What the check lets pass is, at neutral settings, the stock loss to the bit."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub

from mmareaaware.engine.hooks import DetectionMonitorHook
from mmareaaware.preflight import config_findings, model_findings
from tests.test_preflight.expected import heads_where
from tests.test_preflight.heads import head_of, recipe
from tests.test_preflight.one_step import build, images, losses

LARGE_LESS = dict(type="StepAreaWeight", sides=(50,), weights=(3.0, 1.0))


def with_head(name: str, **options) -> dict[str, float]:
    """Losses with a changed head, which is not refused."""
    model = recipe(name)
    _, head = head_of(model)
    for key, value in options.items():
        head[key] = ConfigDict(value) if isinstance(value, dict) else value
    detector = build(name, model)
    assert not [f for f in model_findings(detector) if f.is_error]
    return losses(name, detector)


def own_loss(name: str, slot: str) -> dict:
    """Of a recipe, without its type."""
    _, head = head_of(recipe(name))
    loss = head.get(slot) or dict(reduction="sum")  # YOLOX of mmdet has its default
    return {k: loss[k] for k in ("loss_weight", "reduction") if k in loss}


def larger(found: dict, stock: dict) -> set[str]:
    """The names of the losses that have grown; the others are the same."""
    assert found.keys() == stock.keys()
    grown = {key for key in stock if found[key] > stock[key]}
    assert all(found[key] == stock[key] for key in stock.keys() - grown)
    return grown


@pytest.mark.parametrize("slot", ["loss_cls", "loss_obj"])
@heads_where(lambda expected: expected.form)
def test_positive_weights(name, expected, slot):
    if slot not in expected.slots:
        pytest.skip("it has no such loss")
    use_sigmoid = expected.form == "sigmoid"
    loss = own_loss(name, slot) | dict(use_sigmoid=use_sigmoid)
    stock = with_head(name, **{slot: loss | dict(type="mmdet.CrossEntropyLoss")})
    loss["type"] = "PosWeightedCrossEntropyLoss"
    assert with_head(name, **{slot: loss}) == stock
    weighted = with_head(name, **{slot: loss | dict(pos_weight=3.0)})
    at = {"RPN": "loss_rpn_cls", "Cascade R-CNN": "s0.loss_cls"}.get(name, slot)
    assert larger(weighted, stock) == {at}


@pytest.mark.parametrize("reduction", ["none", "sum"])
@heads_where(lambda expected: expected.plain)
def test_the_loss_without_area_weight(name, expected, reduction):
    loss = dict(type="AreaAwareBCELoss", loss_weight=0.5, reduction=reduction)
    found, stock = with_head(name, loss_cls=loss), with_head(name)
    if reduction == "none":
        assert found == stock
    else:
        assert found == pytest.approx(stock, rel=1e-6)  # summed in another order


# That of DINO has queries for feature maps: tests/test_models/test_dense_heads
@heads_where(lambda expected: expected.ours not in (None, "AreaAwareDINOHead"))
def test_the_head_that_is_advised(name, expected):
    """It can be set in place of the stock one, as the message says."""
    stock = with_head(name)

    def ours(area_weight):
        if expected.weighs == "head":
            return with_head(name, type=expected.ours, area_weight=area_weight)
        loss = dict(type="AreaAwareBCELoss", loss_weight=0.5, area_weight=area_weight)
        return with_head(name, type=expected.ours, loss_cls=loss)

    if expected.weighs == "head":
        assert ours(None) == stock
    else:
        assert ours(None) == pytest.approx(stock, rel=1e-5)
    weighted = ours(dict(LARGE_LESS))
    changed = {key for key in stock if weighted[key] != pytest.approx(stock[key])}
    at = {"RPN": "loss_rpn_cls", "Cascade R-CNN": "s0.loss_cls"}.get(name, "loss_cls")
    assert changed == {at, *expected.slots[1:]}


@heads_where(lambda expected: expected.sparse)
def test_the_sparse_assigner(name, expected):
    """No prior is contested: the assignment is that of the recipe's assigner."""
    model = recipe(name)
    assigner = model.train_cfg.assigner
    stock = losses(name, build(name, model))
    assigner.setdefault("use_ciou", False)
    assigner.setdefault("eps", 1e-7)
    assigner.type = "SparseTaskAlignedAssigner"
    assert not list(config_findings(model))
    assert losses(name, build(name, model)) == pytest.approx(stock, rel=1e-6)
    assigner.topk = 2
    assert losses(name, build(name, model)) != pytest.approx(stock, rel=1e-4)


def runner_of(detector) -> SimpleNamespace:
    """What the monitor needs of a runner in its first iteration."""
    return SimpleNamespace(
        model=detector,
        iter=0,
        message_hub=MessageHub("monitor"),
        optim_wrapper=SimpleNamespace(optim_context=nullcontext),
        logger=None,
    )


@heads_where()
def test_the_monitor(name, expected):
    """It sees the positives and the detections, or says why it cannot."""
    model = recipe(name)
    if "R-CNN" in name:  # a network without training is no surer of any of 81 classes
        model.test_cfg.rcnn.score_thr = 0.001
    detector = build(name, model)
    runner = runner_of(detector)
    hook = DetectionMonitorHook(interval=1, score_thrs=(0.001, 0.3))
    if expected.unseen is not None:
        with pytest.raises(ValueError, match=expected.unseen) as error:
            hook.before_train(runner)
        assert "\n" not in str(error.value)
        return
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    losses(name, detector)
    hook.after_train_iter(runner, 0, dict(inputs=images(name)))
    scalars = runner.message_hub.log_scalars
    values = {key.partition("/")[2]: log.current() for key, log in scalars.items()}
    assert all(math.isfinite(value) for value in values.values())
    assert 0 < values["fg_score"] < 1
    # Where there is an objectness, background is none of the classification loss
    assert ("bg_score" in values) == ("loss_obj" not in expected.slots)
    assert 0 < values.get("bg_score", 0.5) < 1
    assert ("roi_fg_share" in values) == ("R-CNN" in name)
    assert values["detections_0.001"] > 0
