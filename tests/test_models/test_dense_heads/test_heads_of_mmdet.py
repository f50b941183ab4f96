"""Size-aware heads on mmdet's, from the outputs of the network on."""

from functools import cache

import pytest
import torch
from mmdet.models.task_modules import AssignResult
from mmengine.config import ConfigDict

from mmareaaware.models.dense_heads.area_aware_dense_head import Step
from tests.test_models.test_dense_heads.heads_of_mmdet import (
    KINDS,
    NUM_CLASSES,
    NUM_NOISED,
    QUERY_KINDS,
    SIZE,
    build_head,
    flat,
    flatten,
    ground_truth,
    leaves_of,
    losses_of,
    outputs_of,
    step,
)
from tests.two_processes import rank_0_of_2
from tests.weights import noting

DENSE_KINDS = tuple(k for k in KINDS if k not in QUERY_KINDS)
STRONG = dict(area_weight=dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0))
NEUTRAL = {
    "no area weight": dict(area_weight=None),
    "weight 1": dict(area_weight=dict(type="PowerAreaWeight", gamma=0.0)),
    "weight 1, as it is": dict(
        area_weight=dict(type="PowerAreaWeight", gamma=0.0), normalize="none"
    ),
    "strength 0": dict(strength=0.0, **STRONG),
    "λ_bg 0": dict(area_weight=None, loss_bg=dict(type="BgPenaltyLoss", lambda_bg=0.0)),
}
PENALTY = dict(area_weight=None, loss_bg=dict(type="BgPenaltyLoss"))
every_kind = pytest.mark.parametrize("kind", KINDS)


def phi(areas):
    return (32**2 / areas.double()).clamp(1, 50)


@cache
def stock_step(kind, boxes_per_image=(7, 4)):
    truth = ground_truth(boxes_per_image)
    return step(build_head(kind, is_stock=True), outputs_of(kind), truth)


def our_step(kind, truth=None, **options):
    return step(build_head(kind, **options), outputs_of(kind), truth or ground_truth())


def rows(maps, size: int) -> torch.Tensor:
    """(B, N, size) of maps of levels; of the last decoder layer what is to match."""
    if isinstance(maps, torch.Tensor):
        return maps[-1, :, -30:]
    return flatten(maps, size)


def like(outputs, tensors):
    """Tensors in the order of ``leaves_of``, in the form of the outputs."""
    tensors = iter(tensors)
    return [
        next(tensors) if isinstance(o, torch.Tensor) else [next(tensors) for _ in o]
        for o in outputs
    ]


def last(of_layers: torch.Tensor) -> torch.Tensor:
    """Of the last decoder layer, before the encoder; the same where there are none."""
    return of_layers if of_layers.dim() == 2 else of_layers[2]


@cache
def assigned(kind, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Which box each prior is to find, by the assigner of the stock head, (B, N).

    As its index + 1, 0 for background and −1 for ignored; and the areas of those boxes.
    Of the queries, all layers and the encoder, (L + 1, B, Q).
    """
    head, truth = build_head(kind, is_stock=True), ground_truth()
    found = []

    def listen(assigner):
        inner = assigner.assign

        def assign(*args, **kwargs) -> AssignResult:
            result = inner(*args, **kwargs)
            found.append(result.gt_inds)
            return result

        assigner.assign = assign

    if kind == "FCOSHead":
        return _assigned_by_fcos(head, truth)
    listen(head.assigner)
    if "TOOD" in kind:
        listen(head.alignment_assigner)
    losses_of(head, outputs_of(kind), truth)
    gt_inds = torch.stack(found).unflatten(0, (-1, 2))
    if kind not in QUERY_KINDS:
        (gt_inds,) = gt_inds
    areas = torch.zeros(gt_inds.shape, dtype=torch.float64)
    for image, gt in enumerate(truth[0]):
        x1, y1, x2, y2 = gt.bboxes.double().unbind(1)
        area = torch.cat([torch.zeros(1), (x2 - x1) * (y2 - y1)])
        areas[..., image, :] = area[gt_inds[..., image, :].clamp(min=0)]
    return gt_inds, areas


def _assigned_by_fcos(head, truth):
    sizes = [score.shape[2:] for score in outputs_of("FCOSHead")[0]]
    points = head.prior_generator.grid_priors(sizes, device="cpu")
    labels, distances = head.get_targets(points, truth[0])
    areas, positive = [], []
    for level, distance, stride in zip(labels, distances, head.strides, strict=True):
        left, top, right, bottom = (distance.double() * stride).unbind(1)
        is_positive = level < NUM_CLASSES
        positive.append(is_positive.view(2, -1))
        area = (left + right) * (top + bottom)
        areas.append((area * is_positive).view(2, -1))
    return torch.cat(positive, 1).long(), torch.cat(areas, 1)


@pytest.mark.parametrize("boxes_per_image", [(7, 4), (5, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("neutral", NEUTRAL.values(), ids=NEUTRAL)
@every_kind
def test_neutral_equals_the_stock_head_bit_for_bit(kind, neutral, boxes_per_image):
    expected, expected_grads = stock_step(kind, boxes_per_image)
    losses, grads = our_step(kind, ground_truth(boxes_per_image), **neutral)
    for name, value in expected.items():
        assert torch.equal(flat(losses[name]), flat(value)), name
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        assert (grad is None) == (expected_grad is None)
        assert grad is None or torch.equal(grad, expected_grad)


@pytest.mark.parametrize("kind", DENSE_KINDS)
def test_gradients_of_positives_grow_by_phi_and_no_others(kind):
    _, stock = stock_step(kind)
    losses, ours = our_step(kind, normalize="none", **STRONG)
    outputs = outputs_of(kind)
    stock, ours = like(outputs, stock), like(outputs, ours)
    _, areas = assigned(kind)
    positive = areas > 0
    assert 9 < positive.sum() < positive.numel() / 10
    assert phi(areas[positive]).max() > 1.5
    channels = NUM_CLASSES + (kind == "SSDHead")
    weighted = [(stock.pop(0), ours.pop(0), channels)]
    if kind == "YOLOXHead":
        weighted.append((stock.pop(1), ours.pop(1), 1))
    for theirs, own, size in weighted:
        theirs, own = rows(theirs, size), rows(own, size)
        assert torch.equal(own[~positive], theirs[~positive])
        expected = theirs[positive].double() * phi(areas[positive])[:, None]
        assert expected.abs().max() > 0
        torch.testing.assert_close(own[positive].double(), expected, rtol=2e-6, atol=0)
    for theirs, own in zip(leaves_of(stock), leaves_of(ours), strict=True):
        assert torch.equal(own, theirs)
    torch.testing.assert_close(
        losses["area_weight_mean"].double(),
        phi(areas[positive]).mean(),
        rtol=1e-6,
        atol=0,
    )
    assert losses["num_pos"] == positive.sum()


@every_kind
def test_normalised_weights_have_mean_1(kind):
    losses, raw = our_step(kind, normalize="none", **STRONG)
    normalised_losses, normalised = our_step(kind, **STRONG)
    assert normalised_losses["area_weight_mean"] == losses["area_weight_mean"] > 1
    outputs = outputs_of(kind)
    channels = NUM_CLASSES + (kind == "SSDHead")
    raw, normalised = (rows(like(outputs, g)[0], channels) for g in (raw, normalised))
    positive = last(assigned(kind)[1]) > 0
    assert torch.equal(raw[~positive], normalised[~positive])
    expected = raw[positive] / losses["area_weight_mean"]
    torch.testing.assert_close(normalised[positive], expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("kind", QUERY_KINDS)
def test_gradients_of_matched_queries_grow_by_phi_and_no_others(kind):
    _, stock = stock_step(kind)
    losses, ours = our_step(kind, normalize="none", **STRONG)
    _, areas = assigned(kind)
    of_layers = areas[:3]
    if kind == "DINOHead":  # one copy of each box, in their order
        noised = torch.zeros(3, 2, NUM_NOISED, dtype=torch.float64)
        for image, gt in enumerate(ground_truth()[0]):
            sides = (gt.bboxes[:, 2:] - gt.bboxes[:, :2]).double()
            noised[:, image, : len(gt)] = sides.prod(1)
        of_layers = torch.cat([noised, of_layers], 2)
    for i, areas_of in enumerate((of_layers, of_layers, areas[3], areas[3])):
        matched = areas_of > 0
        assert matched.sum() >= 11
        assert torch.equal(ours[i][~matched], stock[i][~matched])
        expected = stock[i][matched].double() * phi(areas_of[matched])[:, None]
        torch.testing.assert_close(
            ours[i][matched].double(), expected, rtol=1e-5, atol=1e-9
        )
    torch.testing.assert_close(
        losses["area_weight_mean"].double(),
        phi(areas[2][areas[2] > 0]).mean(),
        rtol=1e-6,
        atol=0,
    )


def test_objectness_of_yolox_is_its_formula():
    outputs = outputs_of("YOLOXHead")
    losses, _ = our_step("YOLOXHead", normalize="none", **STRONG)
    gt_inds, areas = assigned("YOLOXHead")
    logits = rows(outputs[2], 1)[..., 0].double()
    target = (gt_inds > 0).double()
    weight = torch.where(gt_inds > 0, phi(areas), 1)
    cost = -(target * logits.sigmoid().log() + (1 - target) * (-logits).sigmoid().log())
    expected = (weight * cost).sum() / target.sum()
    torch.testing.assert_close(losses["loss_obj"].double(), expected, rtol=1e-6, atol=0)
    unweighted = stock_step("YOLOXHead")[0]["loss_obj"]
    assert losses["loss_obj"] > 1.01 * unweighted


# The background penalty


def scores(kind, outputs=None) -> torch.Tensor:
    """What the head ranks by, (B, N, C) in float64, by its formula."""
    cls, *others = outputs or outputs_of(kind)
    p = rows(cls, NUM_CLASSES + (kind == "SSDHead")).double()
    if kind == "SSDHead":
        return 1 - p.softmax(-1)[..., -1:]
    p = p if "TOOD" in kind else p.sigmoid()
    if kind in ("ATSSHead", "FCOSHead", "YOLOXHead"):
        p = p * rows(others[1], 1).double().sigmoid()
    return p


def divisor(kind) -> float:
    """What the classification loss is divided by."""
    if kind in ("TOODHead", "TOODHead_later", "RTMDetHead", "RTMDetSepBNHead"):
        head = build_head(kind, is_stock=True)
        inner, kept = head.get_targets, []
        head.get_targets = lambda *a, **k: kept.append(inner(*a, **k)) or kept[0]
        losses_of(head, outputs_of(kind), ground_truth())
        return max(sum(float(level.sum()) for level in kept[0][4]), 1.0)
    return float((last(assigned(kind)[0]) > 0).sum())


@pytest.mark.parametrize("mode", ["max", "focal"])
@every_kind
def test_the_penalty_is_its_formula(kind, mode):
    options = dict(type="BgPenaltyLoss", mode=mode, lambda_bg=3.0)
    losses, grads = our_step(kind, area_weight=None, loss_bg=options)
    expected_losses, expected_grads = stock_step(kind)
    background = last(assigned(kind)[0]) == 0
    p = scores(kind)
    penalty = p.amax(-1) if mode == "max" else (p**2 * -(1 - p).log()).sum(-1)
    total = penalty[background].sum() * 0.5 * 3
    tolerance = dict(rtol=1e-4 if mode == "focal" else 1e-5, atol=0)
    torch.testing.assert_close(
        losses["loss_bg"].double(), total / divisor(kind), **tolerance
    )
    mean = penalty[background].mean()
    torch.testing.assert_close(losses["bg_penalty_mean"].double(), mean, **tolerance)
    for name, value in expected_losses.items():
        assert torch.equal(flat(losses[name]), flat(value))
    # It moves the scores of the background, and those of no positive
    outputs = outputs_of(kind)
    stock, ours = (like(outputs, g)[0] for g in (expected_grads, grads))
    channels = NUM_CLASSES + (kind == "SSDHead")
    moved = (rows(ours, channels) != rows(stock, channels)).any(-1)
    assert not (moved & ~background).any()
    assert moved[background].double().mean() > 0.99
    options["normalizer"] = "background"
    losses, _ = our_step(kind, area_weight=None, loss_bg=options)
    torch.testing.assert_close(
        losses["loss_bg"].double(), total / background.sum(), **tolerance
    )


@every_kind
def test_the_penalty_looks_at_what_boxes_are_ranked_by(kind):
    """The best score of the stock head at test time, without NMS."""
    outputs, (_, metas, _) = outputs_of(kind), ground_truth()
    head = build_head(kind, is_stock=kind != "SSDHead")  # which cannot in mmdet 3.3
    if kind in QUERY_KINDS:
        args = [rows(o, 0) for o in outputs[:2]]
        head.test_cfg.max_per_img = 30
        found = [
            head._predict_by_feat_single(*one, meta, rescale=False)
            for *one, meta in zip(*args, metas, strict=True)
        ]
    else:
        found = predictions(kind, head, outputs, metas)
    best = torch.stack([result.scores.max() for result in found]).double()
    penalty = scores(kind).flatten(1).amax(1)
    if kind == "SSDHead":
        assert (penalty >= best - 1e-6).all()
    else:
        torch.testing.assert_close(penalty, best, rtol=1e-5, atol=0)


# What a head may not look at


@pytest.mark.parametrize(
    "kind",
    [
        k
        for k in DENSE_KINDS
        if "YOLOX" in k or "FCOS" in k or "TOOD" in k or "RTMDet" in k
    ],
)
def test_background_inside_ignored_boxes_is_left_out(kind):
    edge = 70.0
    boxes = [torch.tensor([[0.0, 0.0, edge, edge]]), torch.zeros(0, 4)]
    outputs, areas = outputs_of(kind), assigned(kind)[1]
    index = 2 if kind == "YOLOXHead" else 0
    size = 1 if kind == "YOLOXHead" else NUM_CLASSES
    penalty = dict(PENALTY["loss_bg"], normalizer="background")
    options = dict(area_weight=None, loss_bg=penalty)
    losses, grads = our_step(kind, ground_truth(ignored=boxes), **options)
    expected_losses, expected = our_step(kind, **options)
    grads, expected = (rows(like(outputs, g)[index], size) for g in (grads, expected))
    offset = 0.5 if kind in ("FCOSHead", "YOLOXHead") else 0
    inside = []
    for level in outputs[0]:
        height, width = level.shape[2:]
        x = (torch.arange(width) + offset) * (SIZE / width)
        y = (torch.arange(height) + offset) * (SIZE / height)
        is_in = ((y > 0) & (y < edge))[:, None] & (x > 0) & (x < edge)
        inside.append(torch.stack([is_in, is_in & False]).flatten(1))
    left_out = torch.cat(inside, 1) & (areas == 0)
    assert left_out.sum() > 50
    assert not grads[left_out].any()
    positive = areas > 0
    assert torch.equal(grads[positive], expected[positive])
    assert (grads[~left_out] != 0).any(-1).double().mean() > 0.99
    before, after = (float(n["bg_penalty_mean"]) for n in (expected_losses, losses))
    p = scores(kind).amax(-1)
    assert before == pytest.approx(float(p[~positive].mean()), rel=1e-5)
    assert after == pytest.approx(float(p[~positive & ~left_out].mean()), rel=1e-5)


@every_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_finite(kind, dtype):
    outputs = [
        o.to(dtype) if isinstance(o, torch.Tensor) else [x.to(dtype) for x in o]
        for o in outputs_of(kind)
    ]
    for boxes_per_image in ((7, 4), (0, 0)):
        head = build_head(kind, **STRONG, loss_bg=dict(type="BgPenaltyLoss"))
        with torch.autocast("cpu", dtype):
            losses, grads = step(head, outputs, ground_truth(boxes_per_image))
        assert all(flat(value).isfinite().all() for value in losses.values())
        assert all(g.isfinite().all() for g in grads if g is not None)
        assert losses["loss_bg"] > 0
        assert losses["loss_bg"].dtype == torch.float32


@every_kind
def test_boxes_without_area_are_finite(kind):
    truth = ground_truth()
    truth[0][0].bboxes[0, 2:] = truth[0][0].bboxes[0, :2]
    losses, grads = our_step(kind, truth, **STRONG)
    if kind in ("RetinaHead", "SSDHead"):  # whose box coder takes the log of its side
        losses.pop("loss_bbox")
        grads = grads[: len(grads) // 2]
    assert all(flat(value).isfinite().all() for value in losses.values())
    assert all(g.isfinite().all() for g in grads if g is not None)


@pytest.mark.parametrize("kind", DENSE_KINDS)
def test_predicted_areas_are_those_of_the_boxes_that_the_stock_head_predicts(kind):
    """For AreaMismatchWeight: all boxes of an image, by size."""
    outputs, (_, metas, _) = outputs_of(kind), ground_truth()
    head = build_head(kind, **STRONG)
    asked, boxes, decode = [], [], head.decode_positives
    head.area_weight = lambda p: asked.append(p) or torch.ones_like(p.areas)
    head.decode_positives = lambda *args: boxes.append(decode(*args)) or boxes[-1]
    head._step = Step(outputs, SIZE * SIZE, None)
    sizes = [level.shape[2:] for level in outputs[0]]
    has_strides = "RTMDet" in kind or "YOLOX" in kind
    options = dict(with_stride=True) if has_strides else {}
    priors = head.prior_generator.grid_priors(sizes, device="cpu", **options)
    if kind not in ("RetinaHead", "SSDHead", "FCOSHead", "YOLOXHead"):
        priors = [level.expand(2, -1, -1) for level in priors]
    numbers = [level.size(-2) for level in priors]
    labels = [torch.zeros(2, n, dtype=torch.long) for n in numbers]
    ones = [torch.ones(2, n) for n in numbers]
    head.weigh_levels(labels, ones, ones, priors)
    (positives,), (boxes,) = asked, boxes
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    assert torch.equal(positives.pred_areas, areas)
    strides = [stride[0] for stride in head.prior_generator.strides]
    assert positives.strides.view(2, -1)[0].tolist() == [
        stride for stride, n in zip(strides, numbers, strict=True) for _ in range(n)
    ]

    metas = [dict(meta, img_shape=(10**9, 10**9)) for meta in metas]
    if kind == "FCOSHead":  # in eval mode its output is in px
        in_px = [b * s for b, s in zip(outputs[1], strides, strict=True)]
        outputs = [outputs[0], in_px, outputs[2]]
    found = predictions(kind, head, outputs, metas)
    for ours, result in zip(boxes.view(2, -1, 4), found, strict=True):
        if kind != "YOLOXHead":  # once for each class
            result = result[result.labels == 0]
        else:
            ours = ours.clamp(min=-1e9)
        theirs = result.bboxes
        if kind not in ("TOODHead", "TOODHead_later", "YOLOXHead"):
            ours = ours.clamp(min=0)  # as boxes are clipped
        for side in range(4):
            torch.testing.assert_close(
                ours[:, side].sort().values, theirs[:, side].sort().values
            )


@every_kind
def test_area_weights_see_the_area_of_the_network_input(kind):
    instances, metas, _ = ground_truth()
    metas = [dict(meta, batch_input_shape=(SIZE, 2 * SIZE)) for meta in metas]
    head, asked = build_head(kind, **STRONG), []
    head.area_weight = lambda p: asked.append(p.image_area) or torch.ones_like(p.areas)
    losses_of(head, outputs_of(kind), (instances, metas, None))
    assert set(asked) == {2 * SIZE**2}


def predictions(kind, head, outputs, metas) -> list:
    """All that a head finds, without a threshold and without NMS."""
    cfg = ConfigDict(head.test_cfg, score_thr=-1.0, nms_pre=10**7, min_bbox_size=-1)
    if len(outputs) == 2:
        outputs = [*outputs, None]
    return head.predict_by_feat(
        *outputs, batch_img_metas=metas, cfg=cfg, with_nms=False
    )


# Two processes with one image each against one process with both


def _gradients(rank: int, world_size: int, kinds: tuple) -> dict:
    torch.set_num_threads(1)
    grads = {}
    for kind in kinds:
        outputs, (instances, metas, _) = outputs_of(kind), ground_truth()
        if world_size > 1:
            mine = slice(rank, rank + 1)
            outputs = [
                o[:, mine] if o.dim() == 4 else o[mine]
                for o in outputs
                if isinstance(o, torch.Tensor)
            ] or [[x[mine] for x in level] for level in outputs]
            instances, metas = instances[mine], metas[mine]
        head = build_head(kind, **STRONG, loss_bg=dict(type="BgPenaltyLoss"))
        _, of_outputs = step(head, outputs, (instances, metas, None))
        grads[kind] = [g.numpy() for g in of_outputs]
    return grads


# Without the mean over ranks, the stock heads of these have not the property
OF_ONE_PROCESS = tuple(k for k in KINDS if k not in ("RetinaHead", "SSDHead"))


def test_two_processes_give_the_gradients_of_one(free_port):
    grads = rank_0_of_2(_gradients, free_port, OF_ONE_PROCESS)
    expected = _gradients(0, 1, OF_ONE_PROCESS)
    for kind in OF_ONE_PROCESS:
        for grad, own in zip(grads[kind], expected[kind], strict=True):
            own = own[:, :1] if own.ndim == 4 and kind in QUERY_KINDS else own[:1]
            assert abs(grad / 2 - own).max() <= 1e-5 * abs(own).max(), kind
        assert all(abs(own).max() > 0 for own in expected[kind][:3]), kind


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("FCOSHead", dict(loss_bg=dict(type="FocalLoss")), "loss_bg must be None or a"),
        ("GFLHead", dict(normalize="sum"), "normalize must be one of"),
        ("YOLOXHead", dict(strength=2.0), "strength must be in"),
        (
            "DINOHead",
            dict(area_weight=dict(type="PyramidMembershipWeight")),
            "the queries of AreaAwareDINOHead have none: take another",
        ),
        (
            "DeformableDETRHead",
            dict(loss_cls=dict(type="CrossEntropyLoss")),
            "needs a loss_cls with use_sigmoid=True, as FocalLoss",
        ),
    ],
)
def test_wrong_options_fail_when_built(kind, options, message):
    with pytest.raises(ValueError, match=message):
        build_head(kind, **options)


@pytest.mark.parametrize(
    "area_weight", ["BoxScaleWeight", "AreaMismatchWeight", "PyramidMembershipWeight"]
)
@every_kind
def test_area_weights_that_look_beyond_the_box(kind, area_weight):
    if kind in QUERY_KINDS and area_weight == "PyramidMembershipWeight":
        return
    losses, _ = our_step(kind, area_weight=dict(type=area_weight))
    assert losses["loss_cls"] != stock_step(kind)[0]["loss_cls"]
    assert 1e-3 < losses["area_weight_mean"] < 5


def test_fcos_with_distances_in_px_has_the_areas_of_its_boxes():
    head, seen = build_head("FCOSHead", norm_on_bbox=False, **STRONG), []
    head.area_weight = noting(seen)
    truth = ground_truth()
    losses_of(head, outputs_of("FCOSHead"), truth)
    sides = torch.cat([gt.bboxes[:, 2:] - gt.bboxes[:, :2] for gt in truth[0]])
    distance = (seen[0].areas[:, None] / sides.prod(1) - 1).abs().amin(1)
    assert len(distance) > 9
    assert distance.max() < 1e-4


@pytest.mark.parametrize("kind", QUERY_KINDS)
def test_predicted_areas_of_queries_are_in_px_of_their_image(kind):
    head, seen, truth = build_head(kind, **STRONG), [], ground_truth()
    head.area_weight = noting(seen)
    losses_of(head, outputs_of(kind), truth)
    sizes = torch.tensor([meta["img_shape"] for meta in truth[1]]).prod(1)
    areas = outputs_of(kind)[1][-1, ..., 2:].prod(-1) * sizes[:, None]  # (B, Q)
    expected = [areas[:, -30:][assigned(kind)[0][2] > 0]]
    if kind == "DINOHead":  # the copies of the boxes come first
        copies = [image[: len(gt)] for image, gt in zip(areas, truth[0], strict=True)]
        expected.append(torch.cat(copies))
    found = [positives.pred_areas for positives in seen]
    for one in expected:
        assert any(x.shape == one.shape and torch.allclose(x, one) for x in found)
