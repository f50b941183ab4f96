import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import TASK_UTILS
from torch.utils._python_dispatch import TorchDispatchMode

from mmareaaware.models import PriorGrid, SparseTaskAlignedAssigner


def priors_of(sizes, strides):
    """(N, 4) points of all levels, as MlvlPointGenerator makes them."""
    points = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        for y in range(height):
            for x in range(width):
                centre = ((x + 0.5) * stride, (y + 0.5) * stride)
                points.append([*centre, stride, stride])
    return torch.tensor(points, dtype=torch.float32)


def ciou(a, b, eps=1e-7):
    """CIoU of two boxes, plain numbers."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    (w1, h1), (w2, h2) = ((x[2] - x[0], x[3] - x[1]) for x in (a, b))
    iou = inter / (w1 * h1 + w2 * h2 - inter + eps)
    enclosing = (max(a[2], b[2]) - min(a[0], b[0])) ** 2
    enclosing += (max(a[3], b[3]) - min(a[1], b[1])) ** 2 + eps
    distance = (a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2
    shape = math.atan(w2 / (h2 + eps)) - math.atan(w1 / (h1 + eps))
    v = 4 / math.pi**2 * shape**2
    return iou - distance / 4 / enclosing - v * v / (v - iou + 1 + eps)


def dense_reference(
    pred, scores, priors, boxes, labels, topk, min_side=0, topk2=None, eps=1e-9
):
    """Targets {prior: (box, score)} of one image, by loops in float64."""
    metric, overlap, taken = {}, {}, {}
    for g, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        low, high = list(box[:2]), list(box[2:])
        for axis in (0, 1):
            if high[axis] - low[axis] < min_side:
                centre = (low[axis] + high[axis]) / 2
                low[axis], high[axis] = centre - min_side / 2, centre + min_side / 2
        for n, (x, y, *_) in enumerate(priors):
            if low[0] < x < high[0] and low[1] < y < high[1]:
                value = max(ciou(pred[n], box), 0)
                # Compared in float32, so that what should be equal is
                overlap[g, n] = float(np.float32(value))
                metric[g, n] = float(np.float32(scores[n][label] ** 0.5 * value**6))
        ranked = sorted(
            (n for (h, n), m in metric.items() if h == g and m > 0),
            key=lambda n: (-metric[g, n], n),
        )
        for n in ranked[:topk]:
            taken.setdefault(n, []).append(g)
    owner = {}
    for n, takers in taken.items():
        containing = [g for g, m in overlap if m == n]
        best = min(containing, key=lambda g: (-overlap[g, n], g))
        owner[n] = takers[0] if len(takers) == 1 else best
    if topk2:
        for g in range(len(boxes)):
            held = sorted(
                (n for n in owner if owner[n] == g), key=lambda n: (-metric[g, n], n)
            )
            for n in held[topk2:]:
                del owner[n]
    result = {}
    for n, g in owner.items():
        held = [m for m in owner if owner[m] == g]
        best_metric = max(metric[g, m] for m in held)
        best_overlap = max(overlap[g, m] for m in held)
        result[n] = g, metric[g, n] * best_overlap / (best_metric + eps)
    return result


def assign(assigner, pred, scores, priors, gts):
    """``gts``: boxes and labels of each image; the flat call."""
    boxes = torch.cat([b for b, _ in gts])
    labels = torch.cat([c for _, c in gts])
    images = torch.cat([torch.full((len(b),), i) for i, (b, _) in enumerate(gts)])
    targets, box, *_ = assigner.assign(
        pred,
        lambda image, prior, label: scores[image, prior, label],
        PriorGrid.from_priors(priors),
        boxes,
        labels,
        images,
    )
    first = [int((images < i).sum()) for i in range(len(gts))]
    found = [{} for _ in gts]
    for i, n, g, score in zip(
        targets.image, targets.prior, box, targets.score, strict=True
    ):
        assert int(n) not in found[i]
        found[i][int(n)] = int(g) - first[i], float(score)
    assert torch.equal(targets.label, labels[box])
    return found


@st.composite
def scenes(draw):
    """Grids, predictions and boxes: small ones, huge ones, ties, some half outside."""
    num_levels = draw(st.integers(1, 4))
    strides = [4 * 2**i for i in range(num_levels)]
    coarsest = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    sizes = [tuple(s * strides[-1] // t for s in coarsest) for t in strides]
    priors = priors_of(sizes, strides)
    width, height = coarsest[1] * strides[-1], coarsest[0] * strides[-1]
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    gts = []
    for number in draw(st.lists(st.integers(0, 7), min_size=1, max_size=3)):
        size = torch.tensor([width, height])
        centre = rand(number, 2) * size * 1.2 - 0.1 * size
        side = torch.exp(rand(number, 2) * 4.5)
        boxes = torch.cat([centre - side / 2, centre + side / 2], 1)
        if draw(st.booleans()):  # on the grid: sides that go through priors, ties
            boxes = (boxes / 2).round() * 2
        if number > 2 and draw(st.booleans()):
            boxes[1] = boxes[0]
            boxes[2, 2:] = boxes[2, :2]
        gts.append((boxes, torch.randint(3, (number,), generator=generator)))
    pred = torch.zeros(len(gts), len(priors), 4)
    for i, (boxes, _) in enumerate(gts):
        distance = rand(len(priors), 4) * 4 * priors[:, 2:3]
        pred[i] = torch.cat(
            [priors[:, :2] - distance[:, :2], priors[:, :2] + distance[:, 2:]], 1
        )
        if len(boxes):  # many predictions near a box, so that priors are contested
            near = rand(len(priors)) < 0.7
            which = torch.randint(len(boxes), (len(priors),), generator=generator)
            pred[i, near] = boxes[which[near]] + rand(int(near.sum()), 4) * 3
    if draw(st.booleans()):
        pred = pred.round()  # equal predictions
    scores = (rand(len(gts), len(priors), 3) * 8).round() / 8
    return priors, pred, scores, gts


@settings(max_examples=150, deadline=None)
@given(
    scene=scenes(),
    topk=st.integers(1, 13),
    min_side=st.sampled_from([0, 16]),
    topk2=st.sampled_from([None, 1]),
)
def test_equals_a_plain_dense_reference(scene, topk, min_side, topk2):
    priors, pred, scores, gts = scene
    assigner = SparseTaskAlignedAssigner(3, topk, min_side=min_side, topk2=topk2)
    # In float64, so that a tie is a tie in both
    found = assign(assigner, pred.double(), scores.double(), priors, gts)
    for i, (boxes, labels) in enumerate(gts):
        expected = dense_reference(
            pred[i].tolist(),
            scores[i].tolist(),
            priors.tolist(),
            boxes.tolist(),
            labels.tolist(),
            topk,
            min_side,
            topk2,
        )
        assert set(found[i]) == set(expected)
        for n, (g, score) in expected.items():
            assert found[i][n][0] == g
            assert found[i][n][1] == pytest.approx(score, rel=1e-5, abs=1e-9)


def crowd(num_gts=30, num_imgs=2, size=128, seed=0):
    """Arguments of the dense call, priors of three levels."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(size // s, size // s) for s in (8, 16, 32)]
    priors = priors_of(sizes, (8, 16, 32))
    distance = torch.rand(num_imgs, len(priors), 4, generator=generator) * 30 + 2
    pred = torch.cat(
        [priors[:, :2] - distance[..., :2], priors[:, :2] + distance[..., 2:]], -1
    )
    scores = torch.rand(num_imgs, len(priors), 5, generator=generator)
    centre = torch.rand(num_imgs, num_gts, 2, generator=generator) * size
    side = torch.rand(num_imgs, num_gts, 2, generator=generator) * 60 + 2
    boxes = torch.cat([centre - side / 2, centre + side / 2], -1)
    labels = torch.randint(5, (num_imgs, num_gts, 1), generator=generator)
    flag = torch.ones(num_imgs, num_gts, 1)
    flag[-1, num_gts // 2 :] = 0
    boxes = boxes * flag
    return [pred, scores, priors, labels.float(), boxes, flag]


def build(kind="SparseTaskAlignedAssigner", **options):
    config = dict(num_classes=5, topk=10, alpha=0.5, beta=6.0, eps=1e-9)
    return TASK_UTILS.build(dict(type=kind, **config, **options))


@pytest.mark.parametrize("use_ciou", [True, False])
def test_takes_the_place_of_the_assigner_of_mmyolo(use_ciou):
    """One box an image: nothing is contested, and both must agree in all results."""
    args = crowd(num_gts=1)
    args[-1].fill_(1)
    ours = build(use_ciou=use_ciou)(*args)
    theirs = build("mmyolo.BatchTaskAlignedAssigner", use_ciou=use_ciou)(*args)
    fg = theirs["assigned_scores"].sum(-1) > 0
    assert fg.sum() >= 10
    assert torch.equal(ours["fg_mask_pre_prior"], fg)
    assert set(ours) == set(theirs)
    for name in ("assigned_labels", "assigned_bboxes"):
        assert torch.equal(ours[name][fg].float(), theirs[name][fg].float())
    torch.testing.assert_close(
        ours["assigned_scores"], theirs["assigned_scores"], rtol=1e-5, atol=1e-8
    )


def test_dense_results_hold_the_sparse_ones():
    args = crowd()
    result = build()(*args)
    gts = [
        (args[4][i][keep], args[3][i][keep].flatten().long())
        for i, keep in enumerate(args[5].squeeze(-1) > 0)
    ]
    found = assign(build(), args[0], args[1], args[2], gts)
    assert sum(map(len, found)) == result["fg_mask_pre_prior"].sum()
    for i, positives in enumerate(found):
        for n, (g, score) in positives.items():
            label = gts[i][1][g]
            assert result["assigned_labels"][i, n] == label
            assert torch.equal(result["assigned_bboxes"][i, n], gts[i][0][g])
            assert result["assigned_scores"][i, n, label] == score
            assert (result["assigned_scores"][i, n] > 0).sum() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    args = crowd()
    args[:2] = [x.to(dtype) for x in args[:2]]
    half = build()(*args)
    args[:2] = [x.float() for x in args[:2]]
    full = build()(*args)
    for name, value in full.items():
        assert torch.equal(half[name], value), name


def test_no_boxes():
    args = crowd(num_gts=0)
    result = build()(*args)
    assert not result["fg_mask_pre_prior"].any()
    assert not result["assigned_scores"].any()


@pytest.mark.parametrize("label", [-1, -2, 100])
def test_a_label_of_no_class_is_refused(label):
    args = list(crowd())
    args[3] = args[3].clone()
    args[3][0, 0] = label
    with pytest.raises(RuntimeError, match=r"a label is outside 0\.\.\."):
        build()(*args)


def test_not_a_number_is_seen():
    args = crowd()
    args[0][0, :, 2] = float("nan")
    assert build()(*args)["assigned_scores"].isnan().any()


@pytest.mark.parametrize("corner", [slice(None), 0, 1, 2, 3])
def test_a_box_that_is_not_a_number_gets_nothing(corner):
    args = crowd()
    args[4][0, :, corner] = float("nan")
    result = build(min_side=16)(*args)
    assert not result["fg_mask_pre_prior"][0].any()
    assert result["fg_mask_pre_prior"][1].any()


def test_a_copy_works_on():
    """The moving average of MMEngine copies the model."""
    args = crowd()
    assigner = build()
    result = assigner(*args)
    copied = copy.deepcopy(assigner)(*args)
    assert all(torch.equal(copied[k], v) for k, v in result.items())


def test_other_priors_are_other_grids():
    assigner = build()
    assigner(*crowd(size=128))
    args = crowd(size=64)
    result = assigner(*args)
    assert all(torch.equal(v, result[k]) for k, v in build()(*args).items())


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def test_memory_grows_with_the_pairs_only():
    """No (B, G, N) tensor, and no dense targets."""
    num_gts, size, classes = 400, 256, 40
    pred, _, priors, labels, boxes, _ = crowd(num_gts, 1, size)
    centre = (boxes[0, :, :2] + boxes[0, :, 2:]) / 2
    boxes = torch.cat([centre - 8, centre + 8], 1)
    grid = PriorGrid.from_priors(priors)
    logits = torch.zeros(1, len(priors), classes)
    with Largest() as largest:
        targets, *_ = build().assign(
            pred,
            lambda image, prior, label: logits[image, prior, label].sigmoid(),
            grid,
            boxes,
            labels.flatten().long(),
            torch.zeros(num_gts, dtype=torch.long),
        )
    assert len(targets.score) > 100
    pairs = grid.inside(boxes, 10).prior.numel()
    assert largest.numel <= 4 * max(pairs, len(priors))
    assert largest.numel < logits.numel() < num_gts * len(priors)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(topk=0), "topk must be at least 1, got 0"),
        (dict(num_classes=0), "num_classes must be at least 1, got 0"),
        (dict(alpha=-1.0), "alpha must not be negative, got -1.0"),
        (dict(beta=float("nan")), "beta must not be negative, got nan"),
        (dict(eps=0.0), "eps must be positive, got 0.0"),
        (dict(min_side=-16), "min_side must not be negative, got -16"),
        (dict(topk2=11), r"topk2 must be in 1\.\.\.topk=10 or None, got 11"),
    ],
)
def test_wrong_options_fail_when_built(option, message):
    with pytest.raises(ValueError, match=message):
        SparseTaskAlignedAssigner(**dict(num_classes=5) | option)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p[:, :2], "priors must be .N, 4."),
        (lambda p: p[torch.arange(len(p)) != 5], "of stride 8 are not"),
        (lambda p: p.flip(0), "of stride 32 are not|of stride 8 are not"),
    ],
)
def test_irregular_priors_are_refused(spoil, message):
    args = crowd()
    args[2] = spoil(args[2])
    with pytest.raises(ValueError, match=message):
        build()(*args)


def test_rounded_priors_are_refused_with_the_reason():
    """Stock heads have the dtype of the network; bfloat16 cannot hold 1028."""
    args = crowd(size=2048)
    args[2] = args[2].bfloat16()
    with pytest.raises(ValueError, match=r"rounded to torch\.bfloat16; AreaAware"):
        build()(*args)
