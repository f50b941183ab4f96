import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from tests.conftest import (
    NUM_CLASSES,
    SIZE,
    STRIDES,
    batch,
    features,
    ground_truth,
    head_config,
)
from tests.two_processes import rank_0_of_2
from tests.weights import noting

POWER = dict(type="PowerAreaWeight")
NEUTRAL = {
    "stock loss": {},
    "no area weight": dict(
        loss_cls=dict(type="AreaAwareBCELoss", area_weight=None, loss_weight=0.3)
    ),
    "strength 0": dict(
        loss_cls=dict(
            type="AreaAwareBCELoss", area_weight=POWER, strength=0.0, loss_weight=0.3
        )
    ),
    "no sync": dict(sync_avg_factor=False),
    "lambda 0": dict(loss_bg=dict(type="BgPenaltyLoss", lambda_bg=0.0)),
}
SPARSE = dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES)
ASSIGNERS = {"dense": {}, "sparse": dict(train_cfg=dict(assigner=SPARSE))}
each_assigner = pytest.mark.parametrize(
    "assigner", ASSIGNERS.values(), ids=list(ASSIGNERS)
)
BATCHES = {
    "many": (40, 25),
    "few": (1, 3),
    "one image empty": (7, 0),
    "none": (0, 0),
    "600": (600, 10),
}
FULL = dict(
    loss_cls=dict(
        type="AreaAwareBCELoss",
        area_weight=dict(type="PowerAreaWeight"),
        class_weight=dict(type="EffectiveNumberWeight"),
        margin=dict(type="LDAMMargin"),
        class_counts=[500, 100, 50, 10, 1],
        label_smoothing=0.05,
        focal_gamma=1.5,
    ),
    loss_bg=dict(type="BgPenaltyLoss", mode="focal"),
)


def losses_and_grads(head, samples, num_imgs=2):
    x = [f.requires_grad_() for f in features(num_imgs)]
    losses = head.loss(x, samples)
    sum(v for k, v in losses.items() if "loss" in k).backward()
    grads = [p.grad for p in head.parameters()] + [f.grad for f in x]
    return losses, grads


@pytest.mark.parametrize("boxes", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("settings", NEUTRAL.values(), ids=NEUTRAL)
def test_neutral_settings_equal_stock_bit_for_bit(make_head, settings, boxes):
    stock_loss = settings.get("loss_cls")
    if stock_loss:
        stock_loss = dict(
            type="mmdet.CrossEntropyLoss",
            use_sigmoid=True,
            reduction="none",
            loss_weight=stock_loss["loss_weight"],
        )
    stock = make_head("YOLOv8Head", **({"loss_cls": stock_loss} if stock_loss else {}))
    expected, expected_grads = losses_and_grads(stock, batch(boxes))
    losses, grads = losses_and_grads(make_head(**settings), batch(boxes))
    for name, value in expected.items():
        assert torch.equal(losses[name], value), name
    assert len(grads) == len(expected_grads)
    for grad, value in zip(grads, expected_grads, strict=True):
        assert torch.equal(grad, value)


@each_assigner
def test_a_list_of_instances_gives_what_the_fast_collate_gives(make_head, assigner):
    from mmengine.structures import InstanceData

    samples = batch((5, 2))
    x = features()
    fast = make_head(**assigner).loss(x, samples)
    gt = samples["bboxes_labels"]
    instances = [
        InstanceData(bboxes=gt[gt[:, 0] == i, 2:], labels=gt[gt[:, 0] == i, 1])
        for i in range(2)
    ]
    head = make_head(**assigner)
    slow = head.loss_by_feat(*head(x), instances, samples["img_metas"])
    for name, value in fast.items():
        assert torch.equal(slow[name], value), name


def test_everything_on_is_finite_and_logged(make_head):
    losses, grads = losses_and_grads(make_head(**FULL), batch((40, 0)))
    assert set(losses) == {
        "loss_cls",
        "loss_bbox",
        "loss_dfl",
        "loss_bg",
        "area_weight_mean",
        "bg_penalty_mean",
        "bg_penalty_max",
        "bg_penalty_min",
        "num_pos",
    }
    assert all(value.isfinite() for value in losses.values())
    assert all(grad.isfinite().all() for grad in grads)
    assert losses["num_pos"] > 0
    assert losses["loss_bg"] > 0


class Weights:
    """In place of a box loss: remembers the weights that it is called with."""

    def __call__(self, pred, target, weight, **kwargs):
        self.seen = weight.detach().double()
        return pred.sum()


def test_boxes_are_weighed_as_classes(make_head):
    seen = {}
    for weigh_boxes in (False, True):
        loss_cls = dict(type="AreaAwareBCELoss", area_weight=inverse_side)
        head = make_head(loss_cls=loss_cls, weigh_boxes=weigh_boxes)
        del head.loss_bbox, head.loss_dfl
        head.loss_bbox, head.loss_dfl = Weights(), Weights()
        samples = batch((25, 3))
        outputs = head(features())
        head.loss_by_feat(*outputs, *samples.values())
        seen[weigh_boxes] = head.loss_bbox.seen, head.loss_dfl.seen
    boxes = head.match(outputs, samples["bboxes_labels"], 2).boxes
    sides = (boxes[:, 2:] - boxes[:, :2]).double().prod(1).sqrt()
    targets, _ = seen[False]
    mean = (targets / sides).sum() / targets.sum()
    expected = targets / sides / mean
    torch.testing.assert_close(seen[True][0], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(seen[True][1], seen[True][0].repeat_interleave(4))
    assert torch.equal(seen[False][1], targets.repeat_interleave(4))


def inverse_side(positives):
    return positives.areas.rsqrt()


@pytest.mark.parametrize(
    "loss_cls", [None, dict(type="AreaAwareBCELoss", area_weight=None)]
)
def test_boxes_cannot_be_weighed_without_an_area_weight(make_head, loss_cls):
    settings = {} if loss_cls is None else dict(loss_cls=loss_cls)
    with pytest.raises(ValueError, match="weigh_boxes=True takes the area weight"):
        make_head(weigh_boxes=True, **settings)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("boxes", [(40, 0), (0, 0)])
def test_half_precision_is_finite_and_close(make_head, dtype, boxes):
    with torch.autocast("cpu", dtype):
        losses, grads = losses_and_grads(make_head(**FULL), batch(boxes))
    exact, _ = losses_and_grads(make_head(**FULL), batch(boxes))
    assert all(grad.isfinite().all() for grad in grads)
    for name in ("loss_cls", "loss_bg"):
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], exact[name], rtol=0.2, atol=1e-3)


@each_assigner
def test_degenerate_boxes_are_finite(make_head, assigner):
    gt = ground_truth((5, 0))
    gt[0, 4:] = gt[0, 2:4]  # no area
    gt[1, 4] = gt[1, 2]  # no width
    gt[2, 2:] = torch.tensor([60, 60, 20, 20])  # inside out
    gt[3, 2:] = torch.tensor([-60, -60, 20, 20])  # mostly outside
    samples = dict(bboxes_labels=gt, img_metas=[{}, {}])
    losses, grads = losses_and_grads(make_head(**FULL, **assigner), samples)
    assert all(value.isfinite() for value in losses.values())
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("boxes", [(9, 3), (0, 0)])
def test_one_class(make_head, boxes):
    samples = batch(boxes)
    samples["bboxes_labels"][:, 1] = 0
    head = make_head(
        num_classes=1,
        loss_cls=dict(type="AreaAwareBCELoss", area_weight=POWER),
        loss_bg=dict(type="BgPenaltyLoss"),
    )
    losses, _ = losses_and_grads(head, samples)
    assert all(value.isfinite() for value in losses.values())


def predict(boxes) -> list[torch.Tensor]:
    """Distances (1, 4, H, W) of each level, with which a prior inside a box predicts
    it, and all other priors the last one."""
    levels = []
    for stride in STRIDES:
        n = SIZE // stride
        y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        centre = (torch.stack([x, y]) + 0.5) * stride  # (2, n, n)
        level = None
        for box in torch.as_tensor(boxes).view(-1, 2, 2, 1, 1).flip(0):
            distances = torch.cat([centre - box[0], box[1] - centre]) / stride
            inside = distances.min(0).values > 0
            level = distances if level is None else distances.where(inside, level)
        levels.append(level[None])
    return levels


def test_losses_of_boxes_and_classes_share_one_weight(make_head):
    """The weight of a positive is made once a step, whoever takes it."""
    calls = []

    def count(positives):
        calls.append(positives)
        return inverse_side(positives)

    for assigner in ASSIGNERS.values():
        head = make_head(
            loss_cls=dict(type="AreaAwareBCELoss", area_weight=count),
            weigh_boxes=True,
            **assigner,
        )
        losses_and_grads(head, batch((25, 3)))
    assert len(calls) == len(ASSIGNERS)


def test_small_boxes_gain_by_exactly_their_weight(make_head):
    """The gradient of each positive grows by φ of its own box, background's by 1."""
    boxes = [[8.0, 8, 16, 16], [40, 40, 104, 120]]
    samples = torch.tensor([[0, i, *box] for i, box in enumerate(boxes)])

    def logit_grads(**loss_cls):
        head = make_head(loss_cls=dict(type="AreaAwareBCELoss", **loss_cls))
        scores, _, dists = head(features(1))
        for score in scores:
            score.retain_grad()
        losses = head.loss_by_feat(scores, predict(boxes), dists, samples, [{}])
        losses["loss_cls"].backward()
        return torch.cat([s.grad.flatten(2) for s in scores], 2)[0].T  # (N, C)

    plain = logit_grads(area_weight=None)
    weight = dict(type="PowerAreaWeight", max_weight=100.0)
    weighted = logit_grads(area_weight=weight, normalize="none")
    ratio = weighted / plain
    small = torch.zeros(len(ratio), dtype=bool)
    small[1 * (SIZE // 8) + 1] = True  # the one prior inside the small box, on level 0
    # 64 px² against 32² gives (1024 / 64) ** 0.5 = 4; the large box is clipped to 1.
    torch.testing.assert_close(ratio[small], torch.full_like(ratio[small], 4))
    assert (ratio[~small] == 1).all()


def test_areas_are_in_pixels_of_the_input_for_both_boxes(make_head):
    """The head hands over A and A_pred in the same unit, before any rescaling."""
    seen = []

    def spy(positives):
        seen.append(positives)
        return torch.ones_like(positives.areas)

    head = make_head(loss_cls=dict(type="AreaAwareBCELoss", area_weight=spy))
    scores, _, dists = head(features(1))
    box = [24.0, 32, 56, 72]
    samples = torch.tensor([[0, 1, *box]])
    head.loss_by_feat(scores, predict([box]), dists, samples, [{}])
    (positives,) = seen  # once a step
    assert len(positives.areas)
    assert (positives.areas == 32 * 40).all()
    assert torch.allclose(positives.pred_areas, torch.tensor(32.0 * 40))
    assert positives.image_area == SIZE**2
    assert positives.strides.shape == positives.areas.shape
    assert set(positives.strides.tolist()) <= set(STRIDES)
    assert list(positives.level_strides) == list(STRIDES)


def test_priors_follow_dtype_and_device(make_head):
    head = make_head()
    maps = head(features(1))[0]
    assert head._priors(maps).points.dtype == torch.float32
    assert head._priors([m.double() for m in maps]).points.dtype == torch.float64
    assert head._priors([m.to("meta") for m in maps]).points.device.type == "meta"


def test_wrong_class_counts_fail_when_built(make_head):
    with pytest.raises(ValueError, match=r"class_counts has 2 entries for 5 classes"):
        make_head(
            loss_cls=dict(
                type="AreaAwareBCELoss",
                class_weight=dict(type="EffectiveNumberWeight"),
                class_counts=[3, 4],
            )
        )
    with pytest.raises(ValueError, match=r"margin has 3 entries for 5 classes"):
        make_head(loss_cls=dict(type="AreaAwareBCELoss", margin=[0.1, 0.2, 0.3]))


def test_an_area_weight_in_a_stock_head_is_an_error(make_head):
    head = make_head(
        "YOLOv8Head", loss_cls=dict(type="AreaAwareBCELoss", area_weight=POWER)
    )
    with pytest.raises(ValueError, match="AreaAwareYOLOv8Head"):
        head.init_weights()  # the runner does so before the first iteration
    with pytest.raises(ValueError, match="AreaAwareYOLOv8Head"):
        head.loss(features(), batch((3, 1)))
    make_head(loss_cls=dict(type="AreaAwareBCELoss", area_weight=POWER)).init_weights()


def test_without_area_weight_the_loss_serves_a_stock_head(make_head):
    samples = batch((3, 1))
    expected = make_head("YOLOv8Head").loss(features(), samples)
    loss_cls = dict(
        type="AreaAwareBCELoss", area_weight=None, reduction="none", loss_weight=0.5
    )
    losses = make_head("YOLOv8Head", loss_cls=loss_cls).loss(features(), samples)
    assert torch.equal(losses["loss_cls"], expected["loss_cls"])


# Two processes with two images each against one process with the same four. BatchNorm
# is in eval mode: it would see other batches. The second split leaves rank 1 no box.


def _gradients(rank: int, world_size: int, boxes: tuple, settings: dict) -> list:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(head_config(**settings)).train()
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    model = torch.nn.parallel.DistributedDataParallel(head) if world_size > 1 else head
    num_imgs = len(boxes) // world_size
    part = slice(rank * num_imgs, (rank + 1) * num_imgs)
    gt = ground_truth(boxes)
    gt = gt[(gt[:, 0] >= part.start) & (gt[:, 0] < part.stop)]
    gt[:, 0] -= part.start
    outputs = model([f[part] for f in features(len(boxes))])
    ignored = torch.tensor([[0, 20.0, 20, 90, 90]])  # on the first image
    losses = head.loss_by_feat(
        *outputs, gt, [{}] * num_imgs, ignored if rank == 0 else None
    )
    sum(v for k, v in losses.items() if "loss" in k).backward()
    return [p.grad.numpy() for p in head.parameters()]


@pytest.mark.parametrize(
    ("boxes", "normalizer"),
    [
        ((12, 3, 5, 9), "background"),
        ((12, 3, 0, 0), "positives"),
        ((0, 0, 0, 0), "background"),
    ],
)
@each_assigner
def test_two_processes_give_the_gradients_of_one(
    boxes, assigner, normalizer, free_port
):
    loss_bg = FULL["loss_bg"] | dict(normalizer=normalizer)
    settings = FULL | dict(loss_bg=loss_bg, weigh_boxes=True) | assigner
    grads = rank_0_of_2(_gradients, free_port, boxes, settings)
    alone = _gradients(0, 1, boxes, settings)
    for grad, expected in zip(grads, alone, strict=True):
        scale = abs(expected).max()
        assert abs(grad - expected).max() <= 1e-5 * scale + 1e-12


def _collectives(rank: int, world_size: int, settings: dict) -> int:
    """How often a loss step meets the other rank; with one rank never."""
    from torch import distributed

    meet, calls = distributed.all_reduce, []

    def count(*args, **kwargs):
        calls.append(args)
        return meet(*args, **kwargs)

    distributed.all_reduce = count
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(head_config(**settings)).train()
    boxes = ((3, 2), (0, 0))[rank]
    losses = head.loss(features(), batch(boxes))
    sum(v for k, v in losses.items() if "loss" in k).backward()
    distributed.all_reduce = meet
    return len(calls)


@each_assigner
def test_a_step_meets_the_other_ranks_once(assigner, free_port):
    settings = dict(
        loss_cls=FULL["loss_cls"],
        loss_bg=dict(type="BgPenaltyLoss", normalizer="background"),
        weigh_boxes=True,
        **assigner,
    )
    assert rank_0_of_2(_collectives, free_port, settings) == 1


def test_another_loss_as_penalty_is_refused(make_head):
    with pytest.raises(
        ValueError, match=r"loss_bg must be None or .*'AreaAwareBCELoss'"
    ):
        make_head(loss_bg=dict(type="AreaAwareBCELoss"))


@pytest.mark.parametrize("assigner", ["Sparse", "Batch"])
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (1, -1.0, r"a label is outside 0\.\.\.4"),
        (1, 5.0, r"a label is outside 0\.\.\.4"),
        (3, float("nan"), r"a box lies beyond 1e\+06 px or is no number"),
        (5, float("inf"), r"a box lies beyond 1e\+06 px"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    make_head, assigner, column, value, message
):
    head = make_head()
    if assigner == "Sparse":
        config = dict(type="SparseTaskAlignedAssigner", num_classes=5)
        head = make_head(train_cfg=dict(assigner=config))
    samples = batch((3, 2))
    samples["bboxes_labels"][2, column] = value
    with pytest.raises(RuntimeError, match=message):
        head.loss(features(), samples)


def test_positives_have_the_stride_of_their_level(make_head):
    seen = []
    head = make_head(loss_cls=dict(type="AreaAwareBCELoss", area_weight=noting(seen)))
    samples, outputs = batch((25, 7)), head(features())
    head.loss_by_feat(*outputs, *samples.values())
    _, prior = head.match(outputs, samples["bboxes_labels"], 2).positives
    numbers = torch.tensor([(SIZE // stride) ** 2 for stride in STRIDES])
    of_priors = torch.tensor(STRIDES).repeat_interleave(numbers)
    assert seen[0].strides.tolist() == of_priors[prior].tolist()


def test_priors_follow_the_shape(make_head):
    head = make_head()
    for height, width in ((96, 64), (64, 96)):
        maps = [torch.zeros(1, 5, height // s, width // s) for s in STRIDES]
        priors = head._priors(maps)
        assert priors.input_area == 64 * 96
        assert (priors.points[:, 0].max() > 64) == (width == 96)
