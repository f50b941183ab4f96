"""Size-aware heads on mmyolo's beside YOLOv8's."""

from copy import deepcopy

import pytest
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmareaaware.engine.hooks.classification_probe import ClassificationProbe
from mmareaaware.models.dense_heads import anchor_levels
from tests.conftest import NUM_CLASSES, SIZE, STRIDES
from tests.test_models.test_dense_heads.yolo_heads import (
    HEADS,
    OF_ANCHORS,
    WITH_OBJECTNESS,
    build,
    maps_of,
    samples,
    set_epoch,
    training_step,
)
from tests.weights import noting

every_head = pytest.mark.parametrize("name", HEADS)
STRONG = dict(area_weight=dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0))
# Powers of two, so that a gradient times a weight is exact
STEP = dict(type="StepAreaWeight", sides=(32,), weights=(4.0, 0.5))
PENALTY = dict(type="BgPenaltyLoss")
NEUTRAL = {
    "no area weight": dict(area_weight=None),
    "weight 1": dict(area_weight=dict(type="PowerAreaWeight", gamma=0.0)),
    "strength 0": dict(**STRONG, strength=0.0),
    "lambda 0": dict(area_weight=None, loss_bg=dict(**PENALTY, lambda_bg=0.0)),
}
BATCHES = {"many": (30, 25), "few": (1, 3), "one image empty": (7, 0), "none": (0, 0)}


@pytest.fixture(autouse=True)
def _with_the_later_assigner():
    set_epoch(5)


@pytest.mark.parametrize("boxes", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("options", NEUTRAL.values(), ids=NEUTRAL)
@every_head
def test_neutral_settings_equal_stock_bit_for_bit(name, options, boxes):
    expected, expected_grads = training_step(build(name, is_ours=False), samples(boxes))
    losses, grads = training_step(build(name, **options), samples(boxes))
    for key, value in expected.items():
        assert torch.equal(losses[key], value), key
    assert len(grads) == len(expected_grads)
    assert all(map(torch.equal, grads, expected_grads))


@pytest.mark.parametrize("name", ["YOLOv6", "PP-YOLOE"])
def test_the_initial_assigner_is_heard_too(name):
    set_epoch(0)
    batch = samples((9, 4))
    expected, _ = training_step(build(name, is_ours=False), batch)
    losses, _ = training_step(build(name, **NEUTRAL["weight 1"]), batch)
    assert all(torch.equal(losses[key], value) for key, value in expected.items())
    weighed, _ = training_step(build(name, **STRONG), batch)
    assert weighed["loss_cls"] != expected["loss_cls"]
    assert torch.equal(weighed["loss_bbox"], expected["loss_bbox"])


def test_yolox_in_its_last_epochs_equals_stock_too():
    results = []
    for is_ours in (False, True):
        head = build("YOLOX", is_ours, **(NEUTRAL["strength 0"] if is_ours else {}))
        head.use_bbox_aux = True
        results.append(training_step(head, samples((9, 4))))
    (expected, expected_grads), (losses, grads) = results
    assert "loss_bbox_aux" in expected
    assert all(torch.equal(losses[key], value) for key, value in expected.items())
    assert all(map(torch.equal, grads, expected_grads))


@pytest.mark.parametrize("name", [name for name in HEADS if name != "YOLOX"])
def test_a_list_of_instances_gives_what_the_fast_collate_gives(name):
    """(mmyolo's YOLOX takes no list.)"""
    ignored = torch.tensor([[0, 10.0, 10, 60, 60], [1, 0, 0, 128, 128]])
    batch = samples((5, 2), ignored)
    options = dict(**STRONG, loss_bg=PENALTY)
    head, gt = build(name, **options), batch["bboxes_labels"]
    maps = head(maps_of(head))
    slow = head.loss_by_feat(
        *maps,
        [
            InstanceData(bboxes=gt[gt[:, 0] == i, 2:], labels=gt[gt[:, 0] == i, 1])
            for i in range(2)
        ],
        batch["img_metas"],
        [InstanceData(bboxes=ignored[ignored[:, 0] == i, 1:]) for i in range(2)],
    )
    fast, _ = training_step(build(name, **options), batch)
    assert all(torch.equal(slow[key], value) for key, value in fast.items())


def leaves(head, num_imgs: int = 2) -> list[list[Tensor]]:
    """What the head module returns, by kind, cut off from the module."""
    kinds = head(maps_of(head, num_imgs))
    return [
        [
            [branch.detach().requires_grad_() for branch in level]
            if isinstance(level, list)
            else level.detach().requires_grad_()
            for level in kind
        ]
        for kind in kinds
    ]


def rows(maps: list, channels: int) -> Tensor:
    """Gradients of maps (B, A·channels, H, W) of all levels as (B, N, channels)."""
    grads = []
    for level in maps:
        for branch in level if isinstance(level, list) else [level]:
            grad = torch.zeros_like(branch) if branch.grad is None else branch.grad
            grad = grad.unflatten(1, (-1, channels)).transpose(1, 2)
            grads.append(grad.flatten(2).transpose(1, 2))
    return torch.cat(grads, 1)


def score_grads(name, batch, keys=("loss_cls", "loss_obj", "loss_bg"), **options):
    """Gradients with respect to class logits (B, N, C) and objectness (B, N, 1)."""
    head = build(name, **options)
    maps = leaves(head, len(batch["img_metas"]))
    losses = head.loss_by_feat(*maps, *batch.values())
    sum(losses[key].sum() for key in keys if key in losses).backward()
    of_objects = rows(maps[2], 1) if name in WITH_OBJECTNESS else None
    return rows(maps[0], NUM_CLASSES), of_objects, losses


def centres(name) -> Tensor:
    """Of the priors as :func:`rows` has them, (N, 2)."""
    offset = 0.0 if name == "RTMDet" else 0.5
    points = []
    for stride in STRIDES:
        steps = (torch.arange(SIZE // stride) + offset) * stride
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        level = torch.stack([x, y], -1).flatten(0, 1)
        anchors = 3 if name in OF_ANCHORS else 1
        branches = 2 if "auxiliary" in name else 1
        points += [level.repeat(anchors, 1)] * branches
    return torch.cat(points)


@every_head
def test_gradients_of_positives_grow_by_exactly_their_weight(name):
    batch = dict(
        bboxes_labels=torch.tensor([[0.0, 0, 8, 8, 28, 24], [0, 1, 56, 40, 120, 120]]),
        img_metas=[dict(batch_input_shape=(SIZE, SIZE))],
    )
    keys = ("loss_cls", "loss_obj")
    plain, weighed = (
        score_grads(name, deepcopy(batch), keys, normalize="none", area_weight=weight)
        for weight in (None, STEP)
    )
    near_small = centres(name)[:, 0] < 40
    weight = torch.where(near_small, 4.0, 0.5)
    for before, after in zip(plain[:2], weighed[:2], strict=True):
        if before is None:
            continue
        before, after = before[0], after[0]
        is_weighed = (after != before).any(1)
        expected = before * torch.where(is_weighed, weight, 1.0).unsqueeze(1)
        assert torch.equal(after, expected)
        assert is_weighed[near_small].any()
        assert is_weighed[~near_small].any()
        assert not is_weighed.all()
        if "auxiliary" not in name:
            assert is_weighed.sum() <= weighed[2]["num_pos"]
    assert torch.equal(weighed[2]["loss_bbox"], plain[2]["loss_bbox"])


def test_the_auxiliary_branch_is_weighted_too():
    grads = []
    for weight in (None, STEP):
        options = dict(area_weight=weight, normalize="none")
        head = build("YOLOv7 with auxiliary branch", **options)
        maps = leaves(head, 1)
        box = torch.tensor([[0.0, 0, 50, 40, 66, 64]])
        metas = [dict(batch_input_shape=(SIZE, SIZE))]
        losses = head.loss_by_feat(*maps, box, metas)
        (losses["loss_cls"] + losses["loss_obj"]).sum().backward()
        of_kinds = [[pair[1].grad for pair in maps[kind]] for kind in (0, 2)]
        grads.append([torch.cat([g.flatten() for g in kind]) for kind in of_kinds])
    (classes, objects), (weighed_classes, weighed_objects) = grads
    assert classes.any()
    assert torch.equal(weighed_classes, 4 * classes)
    is_weighed = weighed_objects != objects
    assert 0 < is_weighed.sum() < len(objects) / 10
    assert torch.equal(weighed_objects[is_weighed], 4 * objects[is_weighed])


@pytest.mark.parametrize(("taken", "weight"), [(-1, 0.5), (0, 4.0)])
def test_an_anchor_has_target_and_weight_of_the_same_box(taken, weight, monkeypatch):
    """Whichever that is: on a GPU, writing to one place twice leaves any of both."""

    def pairs_of(level):
        places = torch.stack(level.where, 1)
        is_same = (places[:, None] == places).all(2)
        return torch.stack([row.nonzero()[taken, 0] for row in is_same])

    monkeypatch.setattr(anchor_levels, "last_pairs", pairs_of)
    head, weights = build("YOLOv5", area_weight=STEP, normalize="none"), set()
    head.loss_obj.register_forward_pre_hook(
        lambda _, args, kwargs: weights.update(kwargs["weight"].unique().tolist()),
        with_kwargs=True,
    )
    boxes = torch.tensor([[0.0, 0, 45, 45, 75, 75], [0, 1, 43, 43, 77, 77]])
    batch = dict(samples((0,)), bboxes_labels=boxes)
    training_step(head, batch)
    assert weights == {1.0, weight}


@every_head
def test_the_mean_weight_of_the_positives_is_one(name):
    """And areas are those of the true boxes in px of the input."""
    batch, calls = samples((25, 7)), []
    sides = batch["bboxes_labels"][:, 4:] - batch["bboxes_labels"][:, 2:4]
    head = build(name, area_weight=lambda positives: positives.areas.rsqrt())
    weights_of = head.weights_of

    def remember(positives, mass):
        weights = weights_of(positives, mass)
        calls.append((positives, mass, weights))
        return weights

    head.weights_of = remember
    losses, _ = training_step(head, batch)
    for positives, mass, weights in calls:
        mean = (mass * weights).sum() / mass.sum()
        torch.testing.assert_close(mean, torch.tensor(1.0))
        distance = (positives.areas[:, None] / sides.prod(1) - 1).abs().amin(1)
        assert distance.max() < 1e-4
        assert positives.pred_areas.shape == positives.strides.shape == mass.shape
        assert set(positives.strides.tolist()) <= set(STRIDES)
        assert positives.image_area == SIZE**2
    positives, mass, _ = calls[0]
    mean = (mass * positives.areas.rsqrt()).sum() / mass.sum()
    torch.testing.assert_close(losses["area_weight_mean"], mean)


@every_head
def test_the_network_input_need_not_be_square(name):
    some = torch.ones(1)
    positives = build(name).positives(some, some, some, (2, 5))
    assert positives.image_area == 2 * 5 * STRIDES[0] ** 2


@every_head
def test_ignored_background_has_no_gradient_and_changes_no_other(name):
    """What has a target counts inside of ignored boxes too."""
    region = torch.tensor([[1, 20.0, 20, 90, 70]])
    options = dict(**STRONG, loss_bg=PENALTY)
    without = score_grads(name, samples((6, 3)), **options)
    with_region = score_grads(name, samples((6, 3), region), **options)
    points = centres(name)
    inside = torch.zeros(2, len(points), dtype=torch.bool)
    low, high = region[0, 1:].split(2)
    inside[1] = ((points > low) & (points < high)).all(1)
    for before, after in zip(without[:2], with_region[:2], strict=True):
        if before is None:
            continue
        assert torch.equal(after[~inside], before[~inside])
        gone = (after[inside] == 0).all(1) & (before[inside] != 0).any(1)
        assert gone.any()
        kept = ~(after[inside] == 0).all(1)
        assert torch.equal(after[inside][kept], before[inside][kept])
        assert 0 < kept.sum() < gone.sum()
    assert torch.equal(with_region[2]["num_pos"], without[2]["num_pos"])
    assert torch.equal(with_region[2]["loss_bbox"], without[2]["loss_bbox"])


@pytest.mark.parametrize("nothing", [None, torch.zeros(0, 5)], ids=["None", "empty"])
@every_head
def test_without_ignored_boxes_nothing_changes_by_a_bit(name, nothing):
    expected, expected_grads = training_step(build(name, **STRONG), samples((6, 3)))
    losses, grads = training_step(build(name, **STRONG), samples((6, 3), nothing))
    assert all(torch.equal(losses[key], value) for key, value in expected.items())
    assert all(map(torch.equal, grads, expected_grads))


def scores_of(name, maps) -> list[Tensor]:
    """What the head ranks by, in float64, (B, A, H, W, C) a level."""
    levels = []
    for i, stride in enumerate(STRIDES):
        size = SIZE // stride
        anchors = 3 if name in OF_ANCHORS else 1
        first = [kind[i][0] if isinstance(kind[i], list) else kind[i] for kind in maps]
        cls = first[0].double().view(2, anchors, NUM_CLASSES, size, size).sigmoid()
        if name in WITH_OBJECTNESS:
            cls = cls * first[2].double().view(2, anchors, 1, size, size).sigmoid()
        levels.append(cls)
    return levels


@pytest.mark.parametrize("normalizer", ["positives", "background"])
@pytest.mark.parametrize("mode", ["max", "focal"])
@every_head
def test_the_penalty_is_on_the_score_that_the_head_ranks_by(name, mode, normalizer):
    """Of a batch without boxes, in float64: all is background."""
    loss_bg = dict(**PENALTY, mode=mode, normalizer=normalizer, lambda_bg=3.0)
    head = build(name, area_weight=None, loss_bg=loss_bg)
    maps = leaves(head)
    losses = head.loss_by_feat(*maps, *samples((0, 0)).values())
    levels = scores_of(name, maps)
    if mode == "max":
        levels = [level.amax(2) for level in levels]
    else:
        levels = [(level**2 * -torch.log1p(-level)).sum(2) for level in levels]
    number = sum(level.numel() for level in levels)
    if normalizer == "background":
        expected = sum(level.sum() for level in levels) / number
    elif name in OF_ANCHORS:
        balanced = zip(levels, (4.0, 1.0, 0.4), strict=True)
        expected = sum(level.mean() * weight for level, weight in balanced)
    else:
        expected = sum(level.sum() for level in levels)
    expected = expected * 0.5 * 3
    if name in OF_ANCHORS:
        expected = expected * 2  # images
    torch.testing.assert_close(
        losses["loss_bg"].double(), expected, rtol=1e-5, atol=0, check_device=False
    )
    mean = losses["bg_penalty_mean"].double()
    raw = sum(level.sum() for level in levels) / number
    torch.testing.assert_close(mean, raw, rtol=1e-5, atol=0)


@every_head
def test_the_penalty_leaves_the_positives_alone(name):
    batch = samples((6, 3))
    of_classes, of_objects, losses = score_grads(
        name, batch, ("loss_bg",), area_weight=None, loss_bg=PENALTY
    )
    untouched = (of_classes == 0).all(2)
    if of_objects is not None:
        untouched &= of_objects[..., 0] == 0
    if "auxiliary" in name:  # the other half of each level
        return
    assert 0 < untouched.sum() <= losses["num_pos"]
    assert losses["loss_bg"] > 0


def test_the_penalty_is_on_the_branch_of_inference_alone():
    name = "YOLOv7 with auxiliary branch"
    head = build(name, area_weight=None, loss_bg=PENALTY)
    maps = leaves(head)
    head.loss_by_feat(*maps, *samples((6, 3)).values())["loss_bg"].backward()
    for cls_scores, _, objectness in zip(*maps, strict=True):
        assert cls_scores[0].grad.abs().sum() > 0
        assert objectness[0].grad.abs().sum() > 0
        assert cls_scores[1].grad is None
        assert objectness[1].grad is None


@pytest.mark.parametrize("name", OF_ANCHORS)
def test_classes_that_are_not_trained_are_not_penalised(name):
    head = build(name, num_classes=1, loss_bg=PENALTY)
    maps = leaves(head)
    batch = samples((6, 3))
    batch["bboxes_labels"][:, 1] = 0
    losses = head.loss_by_feat(*maps, *batch.values())
    losses["loss_bg"].backward()
    of_objects = rows(maps[2], 1)
    assert of_objects.abs().sum() > 0
    assert rows(maps[0], 1).abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("boxes", [(30, 0), (0, 0)])
@every_head
def test_half_precision_is_finite_and_close(name, boxes, dtype):
    options = dict(**STRONG, loss_bg=dict(**PENALTY, mode="focal"))
    with torch.autocast("cpu", dtype):
        losses, grads = training_step(build(name, **options), samples(boxes))
    exact, _ = training_step(build(name, **options), samples(boxes))
    assert all(grad.isfinite().all() for grad in grads)
    assert all(value.isfinite().all() for value in losses.values())
    torch.testing.assert_close(
        losses["loss_bg"].float(), exact["loss_bg"], rtol=0.2, atol=1e-3
    )


@every_head
def test_degenerate_boxes_are_finite(name):
    batch = samples((5, 0))
    gt = batch["bboxes_labels"]
    gt[0, 4:] = gt[0, 2:4]  # no area
    gt[1, 4] = gt[1, 2]  # no width
    gt[2, 2:] = torch.tensor([60, 60, 20, 20])  # inside out
    gt[3, 2:] = torch.tensor([-10, -10, 30, 20])  # partly outside
    losses, grads = training_step(build(name, **STRONG, loss_bg=PENALTY), batch)
    assert all(value.isfinite().all() for value in losses.values())
    assert all(grad.isfinite().all() for grad in grads)


@every_head
def test_the_probe_understands_the_classification_loss(name):
    head = build(name, **STRONG)
    probe = ClassificationProbe(head.loss_cls)
    losses, _ = training_step(head, samples((6, 3)))
    _, num_fg, _, num_bg = probe.sums.tolist()
    assert num_fg > 0
    if name not in WITH_OBJECTNESS:  # whose classes are trained on positives alone
        assert num_fg == losses["num_pos"]
        assert num_bg == 2 * len(centres(name)) - num_fg


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(normalize="sum"), "normalize must be one of .* got 'sum'"),
        (dict(loss_bg=dict(type="AreaAwareBCELoss")), "loss_bg must be None or"),
    ],
)
@every_head
def test_wrong_options_fail_when_built(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)


@pytest.mark.parametrize("name", OF_ANCHORS)
def test_the_ignore_rule_of_yolov5_is_refused(name):
    with pytest.raises(ValueError, match=r"ignore_iof_thr=0\.5: leave it at -1"):
        build(name, ignore_iof_thr=0.5)


@every_head
def test_lambda_and_strength_can_be_scheduled(name):
    from mmareaaware.engine.hooks.loss_param_scheduler_hook import _resolve

    head = build(name, loss_bg=PENALTY)
    for path, value in (("loss_bg.lambda_bg", 5), ("strength", 1)):
        owner, attribute = _resolve(head, path)
        assert getattr(owner, attribute) == value


@every_head
def test_no_hook_stays_on_a_loss_or_an_assigner(name):
    head = build(name, **STRONG)
    training_step(head, samples((6, 3)))
    with pytest.raises(TypeError):  # in the middle of a step
        head.loss_by_feat(*leaves(head), samples((6, 3))["bboxes_labels"], None)
    for module in head.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@every_head
def test_predicted_areas_are_those_of_what_the_box_loss_compares(name):
    seen, boxes = [], []
    head = build(name, area_weight=noting(seen))
    head.loss_bbox.register_forward_pre_hook(lambda _, args: boxes.append(args[0]))
    training_step(head, samples((25, 7)))
    low, high = torch.cat(boxes)[: len(seen[0].areas)].detach().chunk(2, 1)
    sides = high if name in OF_ANCHORS else (high - low).clamp(min=0)
    if name not in ("YOLOX", "RTMDet"):  # whose box loss is in px
        sides = sides * seen[0].strides[:, None]
    torch.testing.assert_close(seen[0].pred_areas, sides.prod(1), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", [n for n in HEADS if n not in OF_ANCHORS])
def test_the_penalty_is_divided_as_the_classification_loss_is(name):
    loss_bg, masses = dict(PENALTY, lambda_bg=3.0, loss_weight=1.0), []
    head = build(name, loss_bg=loss_bg, **STRONG)
    weights_of = head.weights_of
    head.weights_of = lambda p, mass: masses.append(mass) or weights_of(p, mass)
    losses, _ = training_step(head, samples((25, 7)))
    number = 2 * len(centres(name)) - losses["num_pos"]
    expected = 3 * losses["bg_penalty_mean"] * number / masses[0].sum().clamp(min=1)
    torch.testing.assert_close(losses["loss_bg"], expected, rtol=1e-4, atol=0)


@every_head
def test_ignored_background_is_not_counted(name):
    loss_bg = dict(PENALTY, normalizer="background", lambda_bg=3.0, loss_weight=1.0)
    head = build(name, area_weight=None, loss_bg=loss_bg)
    region = torch.tensor([[1, 20.0, 20, 90, 70]])
    losses, _ = training_step(head, samples((6, 3), region))
    images = 2 if name in OF_ANCHORS else 1
    expected = 3 * images * losses["bg_penalty_mean"]
    torch.testing.assert_close(losses["loss_bg"], expected, rtol=1e-5, atol=0)
