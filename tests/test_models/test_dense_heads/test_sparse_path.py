"""The head with sparse targets against the same head with the same targets dense."""

import itertools

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmyolo.models import YOLOv8HeadModule
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmareaaware.models.losses import SparseLogits, SparseTargets, bg_penalty_loss
from tests.conftest import NUM_CLASSES, batch, features, head_config

ASSIGNER = dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES)
POWER = dict(type="PowerAreaWeight")
AREA_WEIGHTS = {
    "none": None,
    "power": POWER,
    "mismatch": dict(type="AreaMismatchWeight"),
    "membership": dict(type="PyramidMembershipWeight"),
    "scale": dict(type="BoxScaleWeight"),
}
PENALTIES = (
    None,
    dict(type="BgPenaltyLoss", mode="max", lambda_bg=30.0),
    dict(type="BgPenaltyLoss", mode="focal", lambda_bg=30.0),
)


class Dense(nn.Module):
    """An assigner of which the head does not know that it is sparse."""

    def __init__(self, assigner):
        super().__init__()
        self.assigner = assigner

    def forward(self, *args):
        return self.assigner(*args)


def losses_and_grads(head, samples):
    x = [f.double().requires_grad_() for f in features()]  # what differs is not noise
    losses = head.loss(x, samples)
    sum(v for k, v in losses.items() if "loss" in k).backward()
    return losses, [f.grad for f in x] + [p.grad for p in head.parameters()]


def assert_paths_agree(make_head, samples, **settings):
    heads = [
        make_head(train_cfg=dict(assigner=dict(ASSIGNER)), **settings).double()
        for _ in range(2)
    ]
    samples["bboxes_labels"] = samples["bboxes_labels"].double()
    heads[1].assigner = Dense(heads[1].assigner)
    (sparse, sparse_grads), (dense, dense_grads) = (
        losses_and_grads(head, samples) for head in heads
    )
    assert set(sparse) == set(dense)
    for name, value in dense.items():
        torch.testing.assert_close(
            sparse[name], value, rtol=1e-6, atol=1e-9, msg=f"{name} {settings}"
        )
    for ours, theirs in zip(sparse_grads, dense_grads, strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("area_weight", AREA_WEIGHTS.values(), ids=AREA_WEIGHTS)
def test_sparse_equals_dense_with_everything(make_head, area_weight):
    balance = (
        {},
        dict(class_weight=[0.5, 1, 2, 1, 0.5]),
        dict(margin=dict(type="LDAMMargin"), class_counts=[9, 5, 50, 1, 2]),
        dict(class_weight=[0.5, 1, 2, 1, 0.5], margin=[0.1, 0.2, 0.3, 0.4, 0.5]),
    )
    for extra, smoothing, gamma, penalty in itertools.product(
        balance, (0.0, 0.1), (0.0, 1.5), PENALTIES
    ):
        loss_cls = dict(
            type="AreaAwareBCELoss",
            area_weight=area_weight,
            label_smoothing=smoothing,
            focal_gamma=gamma,
            **extra,
        )
        assert_paths_agree(
            make_head, batch((25, 3)), loss_cls=loss_cls, loss_bg=penalty
        )


@pytest.mark.parametrize("boxes", [(0, 0), (7, 0), (0, 600)])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_sparse_equals_dense_with_few_and_many_boxes(make_head, boxes, penalty):
    loss_cls = dict(type="AreaAwareBCELoss", area_weight=POWER)
    assert_paths_agree(make_head, batch(boxes), loss_cls=loss_cls, loss_bg=penalty)


def test_sparse_equals_dense_where_classes_tie():
    """As logits in half precision do: one of them gets the gradient."""
    logits = torch.randint(-3, 0, (2, 50, NUM_CLASSES)).float()
    targets = SparseTargets(*torch.zeros(3, 1).long(), torch.ones(1))
    grads = []
    for read in (lambda z: z, lambda z: SparseLogits.read(z, targets, maxima=True)):
        leaf = logits.clone().requires_grad_()
        bg_penalty_loss(read(leaf), targets.sums(2, 50)).backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)


def test_sparse_equals_dense_with_weighed_boxes(make_head):
    settings = dict(
        loss_cls=dict(type="AreaAwareBCELoss", area_weight=POWER), weigh_boxes=True
    )
    assert_paths_agree(make_head, batch((25, 3)), **settings)


def test_sparse_equals_dense_with_the_stock_loss(make_head):
    assert_paths_agree(make_head, batch((25, 3)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_leaves_boxes_and_losses_in_float32(make_head, dtype):
    head = make_head(
        train_cfg=dict(assigner=dict(ASSIGNER)),
        loss_cls=dict(
            type="AreaAwareBCELoss",
            area_weight=POWER,
            class_weight=[0.1, 0.3, 1.0, 1.7, 1.9],
            margin=[0.1, 0.2, 0.3, 0.4, 0.5],
        ),
        loss_bg=dict(type="BgPenaltyLoss"),
    )
    samples = batch((40, 25))
    with torch.autocast("cpu", dtype):
        _, bbox_preds, dists = outputs = head(features())
        losses = head.loss_by_feat(*outputs, *samples.values())
    for distances, of_level in zip(bbox_preds, dists, strict=True):
        assert of_level.dtype == dtype
        bins = torch.arange(16, dtype=torch.float64)
        expected = of_level.double().softmax(-1) @ bins  # (B, H·W, 4)
        expected = expected.transpose(1, 2).reshape(distances.shape).float()
        torch.testing.assert_close(distances, expected)
    for name, value in head.loss_by_feat(*outputs, *samples.values()).items():
        assert torch.equal(losses[name], value), name


def test_prediction_and_training_outputs_are_those_of_stock(make_head):
    head = make_head(train_cfg=dict(assigner=dict(ASSIGNER)))
    stock = make_head("YOLOv8Head")
    for mode in (True, False):
        head.train(mode)
        stock.train(mode)
        outputs = zip(head(features()), stock(features()), strict=True)
        for ours, theirs in outputs:
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b)


BOX_LOSSES = {
    **{
        mode: dict(
            type="IoULoss",
            iou_mode=mode,
            bbox_format="xyxy",
            reduction="sum",
            loss_weight=7.5,
            return_iou=False,
        )
        for mode in ("giou", "ciou")
    },
    "iou": dict(type="mmdet.IoULoss", mode="linear", reduction="sum", loss_weight=7.5),
    "diou": dict(type="mmdet.DIoULoss", reduction="sum", loss_weight=7.5),
}


@pytest.mark.parametrize("boxes", [(25, 3), (0, 0)])
@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses(make_head, name, boxes):
    assert_paths_agree(make_head, batch(boxes), loss_bbox=BOX_LOSSES[name])


def test_box_losses_differ(make_head):
    losses = {
        name: float(
            make_head(train_cfg=dict(assigner=dict(ASSIGNER)), loss_bbox=loss).loss(
                features(), batch((25, 3))
            )["loss_bbox"]
        )
        for name, loss in BOX_LOSSES.items()
    }
    assert len(set(losses.values())) == 4
    assert losses["iou"] < losses["diou"] < losses["ciou"]


class SeesNothing(YOLOv8HeadModule):
    def forward(self, x):
        return super().forward([f * 0 for f in x])


def test_what_a_head_module_does_of_its_own_is_done(make_head):
    config = head_config(train_cfg=dict(assigner=dict(ASSIGNER)))
    head = make_head(train_cfg=dict(assigner=dict(ASSIGNER)))
    calls = []
    head.head_module.register_forward_hook(lambda *_: calls.append(1))
    head.train()(features())
    assert calls == [1]
    config.head_module.type = SeesNothing
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(config).train()
    scores, *_ = head(features())
    assert all((score.std((2, 3)) == 0).all() for score in scores)


class Made(TorchDispatchMode):
    """How many tensors of a certain number of elements are made, views left out."""

    def __init__(self, numel):
        super().__init__()
        self.numel = numel
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.numel() == self.numel:
            given = {a.data_ptr() for a in args if isinstance(a, torch.Tensor)}
            self.count += result.data_ptr() not in given
        return result


@pytest.mark.parametrize(
    "settings",
    [{}, dict(class_weight=[0.5, 1, 2, 1, 0.5], margin=[0.1, 0.2, 0.3, 0.4, 0.5])],
    ids=["weighted by area", "balanced"],
)
def test_no_dense_targets_are_made(make_head, settings):
    head = make_head(
        train_cfg=dict(assigner=dict(ASSIGNER)),
        loss_cls=dict(type="AreaAwareBCELoss", area_weight=POWER, **settings),
        loss_bg=dict(type="BgPenaltyLoss"),
    )
    samples = batch((25, 3))
    outputs = head(features())
    numel = sum(score.numel() for score in outputs[0])
    with Made(numel) as made:
        losses = head.loss_by_feat(*outputs, *samples.values())
        sum(v for k, v in losses.items() if "loss" in k).backward()
    # What held the softplus holds the gradient later
    assert made.count == 1


class Waits(TorchDispatchMode):
    """Operations for which a GPU would have to be waited for."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.partition(".")[0]
        waits = name in ("nonzero", "_local_scalar_dense", "masked_select")
        if name.startswith("index") or name == "_index_put_impl_":
            waits |= any(
                i is not None and i.dtype == torch.bool for i in _indices(args)
            )
        if waits:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _indices(args):
    return args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()


def test_the_loss_waits_for_the_device_for_sizes_only(make_head, monkeypatch):
    head = make_head(
        train_cfg=dict(assigner=dict(ASSIGNER)),
        loss_cls=dict(type="AreaAwareBCELoss", area_weight=POWER),
        loss_bg=dict(type="BgPenaltyLoss"),
    )
    samples = batch((25, 3))
    outputs = head(features())
    head.loss_by_feat(*outputs, *samples.values())  # makes the priors
    with Waits() as waits:
        as_list = torch.Tensor.tolist  # has nothing to dispatch on a CPU

        def tolist(tensor):
            waits.names.append("tolist")
            return as_list(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", tolist)
        head.loss_by_feat(*outputs, *samples.values())
    # The number of pairs, and the positives
    assert waits.names == ["tolist", "nonzero"]
