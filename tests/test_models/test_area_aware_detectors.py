"""Size-aware heads on mmdet's, in whole detectors with their own target assignment."""

from functools import cache

import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmareaaware.models import AreaMismatchWeight, Positives
from tests.conftest import ROOT
from tests.detectors import (
    NUM_CLASSES,
    STOCK,
    build_detector,
    detector_batch,
    detector_config,
    training_step,
)
from tests.two_processes import rank_0_of_2
from tests.weights import noting

KINDS = tuple(STOCK)
STRONG = dict(area_weight=dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0))
NEUTRAL = {
    "no area weight": dict(area_weight=None),
    "weight 1": dict(area_weight=dict(type="PowerAreaWeight", gamma=0.0)),
    "weight 1, as it is": dict(
        area_weight=dict(type="PowerAreaWeight", gamma=0.0), normalize="none"
    ),
    "strength 0": dict(strength=0.0, **STRONG),
}
AREA_WEIGHTS = (
    "PowerAreaWeight",
    "StepAreaWeight",
    "LogAreaWeight",
    "BoxScaleWeight",
    "AreaMismatchWeight",
    "PyramidMembershipWeight",
)


def step(kind, boxes_per_image=(7, 4), **area_options):
    """Losses and gradients of one training step."""
    detector = build_detector(detector_config(kind, **area_options))
    return training_step(detector, detector_batch(boxes_per_image, kind == "mask"))


@cache
def stock_step(kind, boxes_per_image=(7, 4)):
    return step(kind, boxes_per_image)


def flat(loss) -> torch.Tensor:
    """A loss, of all levels where it has levels."""
    return torch.stack(list(loss)) if isinstance(loss, list) else loss


@pytest.mark.parametrize("neutral", NEUTRAL.values(), ids=NEUTRAL)
@pytest.mark.parametrize("kind", KINDS)
def test_neutral_equals_the_stock_detector_bit_for_bit(kind, neutral):
    expected, expected_grads = stock_step(kind)
    losses, grads = step(kind, **neutral)
    for name, value in expected.items():
        assert torch.equal(flat(losses[name]), flat(value)), name
    assert grads.keys() == expected_grads.keys()
    assert all(torch.equal(grads[k], expected_grads[k]) for k in grads)


@pytest.mark.parametrize("normalize", ["mean", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_classification_losses_change(kind, normalize):
    expected, _ = stock_step(kind)
    losses, _ = step(kind, normalize=normalize, **STRONG)
    for name, value in expected.items():
        is_equal = torch.equal(flat(losses[name]), flat(value))
        assert is_equal == ("cls" not in name), name
    added = losses.keys() - expected.keys()
    means = {name for name in added if name.endswith("area_weight_mean")}
    stages = dict(cascade=4, faster=2, mask=2)  # RPN and RoI stages
    assert len(means) == stages.get(kind, 1)
    is_dense = kind in ("retinanet", "atss")
    assert added - means == {"num_pos" if is_dense else "rpn_num_pos"}
    assert all(losses[name] > 1 for name in added)


@pytest.mark.parametrize("area_weight", AREA_WEIGHTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_area_weight_works_in_every_head(kind, area_weight):
    losses, grads = step(kind, area_weight=dict(type=area_weight))
    expected, _ = stock_step(kind)
    for name in expected:
        if "loss_cls" in name or "loss_rpn_cls" in name:
            assert not torch.equal(flat(losses[name]), flat(expected[name]))
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("boxes_per_image", [(5, 0), (0, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_images_without_boxes(kind, boxes_per_image):
    expected, _ = stock_step(kind, boxes_per_image)
    losses, grads = step(kind, boxes_per_image, **STRONG)
    assert losses.keys() >= expected.keys()
    assert all(flat(value).isfinite().all() for value in losses.values())
    assert all(grad.isfinite().all() for grad in grads.values())
    if not sum(boxes_per_image):  # nothing to weigh
        assert all(torch.equal(flat(losses[k]), flat(expected[k])) for k in expected)


def test_boxes_without_area_are_finite():
    detector = build_detector(detector_config("atss", **STRONG))
    batch = detector_batch((3, 1))
    boxes = batch["data_samples"][0].gt_instances.bboxes
    boxes[0, 2:] = boxes[0, :2]
    losses, _ = training_step(detector, batch)
    assert all(flat(value).isfinite().all() for value in losses.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["retinanet", "atss"])
def test_half_precision(kind, dtype):
    detector = build_detector(detector_config(kind, **STRONG))
    with torch.autocast("cpu", dtype):
        losses, grads = training_step(detector, detector_batch())
    assert all(flat(value).isfinite().all() for value in losses.values())
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_of_the_two_stages(dtype):
    """Apart, since mmcv's NMS and RoIAlign know only float32 on a CPU."""
    head, outputs, instances, metas = dense_head("faster", **STRONG)
    scores, boxes = ([x.to(dtype).requires_grad_() for x in maps] for maps in outputs)
    losses = head.loss_by_feat(scores, boxes, instances, metas)
    sum(losses["loss_rpn_cls"] + losses["loss_rpn_bbox"]).backward()
    assert all(x.grad.isfinite().all() for x in scores + boxes)
    assert losses["rpn_area_weight_mean"] > 1
    grads, result, _, _ = roi_loss(dtype, **STRONG)
    assert grads.isfinite().all()
    assert result["loss_bbox"]["area_weight_mean"] > 1


# The weight, seen from the targets and from the gradients


def phi(areas):
    return (32**2 / areas.double()).clamp(1, 50)


def dense_head(kind, **area_options):
    """A dense head, and the maps and data that its loss takes."""
    detector = build_detector(detector_config(kind, **area_options))
    head = detector.rpn_head if kind == "faster" else detector.bbox_head
    data = detector.data_preprocessor(detector_batch(), True)
    with torch.no_grad():
        outputs = head(detector.extract_feat(data["inputs"]))
    instances = [sample.gt_instances for sample in data["data_samples"]]
    if kind == "faster":
        for gt in instances:
            gt.labels = torch.zeros_like(gt.labels)
    metas = [sample.metainfo for sample in data["data_samples"]]
    return head, outputs, instances, metas


def matched_areas(head, sizes, instances, metas) -> torch.Tensor:
    """Area of the box of each anchor by the assigner alone, 0 without, (B, N)."""
    from mmengine.structures import InstanceData

    levels = head.prior_generator.grid_priors(sizes, device="cpu")
    numbers = [len(level) for level in levels]
    rows = []
    for gt in instances:
        anchors = InstanceData(priors=torch.cat(levels))
        args = (numbers,) if "ATSS" in type(head.assigner).__name__ else ()
        assigned = head.assigner.assign(anchors, *args, gt).gt_inds
        x1, y1, x2, y2 = gt.bboxes.double().unbind(1)
        area = torch.cat([torch.zeros(1), (x2 - x1) * (y2 - y1)])
        rows.append(area[assigned.clamp(min=0)])
    return torch.stack(rows)


@pytest.mark.parametrize("kind", ["faster", "retinanet", "atss"])
def test_gradients_of_positives_grow_by_phi_and_no_others(kind):
    grads, losses = [], []
    for options in ({}, dict(normalize="none", **STRONG)):
        head, (scores, *maps), instances, metas = dense_head(kind, **options)
        scores = [score.requires_grad_() for score in scores]
        torch.manual_seed(0)  # of the RPN's sampler
        result = head.loss_by_feat(scores, *maps, instances, metas)
        (cls,) = (v for k, v in result.items() if "cls" in k)
        sum(cls).backward()
        channels = head.cls_out_channels
        flat_grads = [
            s.grad.permute(0, 2, 3, 1).reshape(len(s), -1, channels) for s in scores
        ]
        grads.append(torch.cat(flat_grads, 1))  # (B, N, C)
        losses.append(result)
    areas = matched_areas(head, [s.shape[2:] for s in scores], instances, metas)
    positive = areas > 0
    sampled = positive & (grads[0].abs().sum(-1) > 0)
    assert 10 < sampled.sum() < positive.numel() / 10
    assert torch.equal(grads[1][~positive], grads[0][~positive])
    expected = grads[0][sampled].double() * phi(areas[sampled])[:, None]
    torch.testing.assert_close(grads[1][sampled].double(), expected, rtol=1e-6, atol=0)
    assert phi(areas[sampled]).max() > 1.5  # there are small boxes among them
    mean = losses[1]["rpn_area_weight_mean" if kind == "faster" else "area_weight_mean"]
    torch.testing.assert_close(
        mean.double(), phi(areas[sampled]).mean(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("kind", ["faster", "retinanet", "atss"])
def test_label_weights_of_the_targets(kind):
    head, outputs, instances, metas = dense_head(kind, **STRONG)
    sizes = [score.shape[2:] for score in outputs[0]]
    anchors, valid = head.get_anchors(sizes, metas, device="cpu")
    targets = head.get_targets(anchors, valid, instances, metas)
    labels, weights = targets[1:3] if kind == "atss" else targets[:2]
    labels, weights = torch.cat(labels, 1), torch.cat(weights, 1)
    positive = labels < head.num_classes
    areas = matched_areas(head, sizes, instances, metas)
    raw = phi(areas[positive])
    torch.testing.assert_close(weights[positive].double(), raw / raw.mean())
    assert set(weights[~positive].tolist()) <= {0.0, 1.0}


def test_positives_that_the_sampler_left_out_of_order():
    """The area goes to the anchor it belongs to, whatever the order of the indices."""
    from types import SimpleNamespace

    from mmareaaware.models import AreaAwareAnchorHeadMixin

    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 3, 3], [0, 0, 4, 4.0]])

    class Stock:
        num_classes = 1

        def _get_targets_single(self):
            labels = torch.tensor([1, 0, 1, 0, 1, 0])
            sampled = SimpleNamespace(pos_gt_bboxes=boxes)
            return labels, None, None, None, torch.tensor([4, 0, 2]), None, sampled

    class Head(AreaAwareAnchorHeadMixin, Stock):
        pass

    *_, areas = Head(area_weight=None)._get_targets_single()
    assert areas.tolist() == [0, 9, 0, 16, 0, 4]


# The RoI head


def roi_samples(detector):
    """Sampled RoIs of two images, with the maps that they are taken from."""
    data = detector.data_preprocessor(detector_batch(), True)
    with torch.no_grad():
        maps = detector.extract_feat(data["inputs"])
    proposals = []
    generator = torch.Generator().manual_seed(0)
    for sample in data["data_samples"]:
        gt = sample.gt_instances.bboxes
        near = gt.repeat(8, 1) + torch.randn(8 * len(gt), 4, generator=generator)
        far = torch.rand(40, 4, generator=generator).cumsum(1) * 30
        proposals.append(torch.cat([near, far]))
    return data["data_samples"], maps, proposals


def roi_loss(dtype=torch.float32, **area_options):
    """Gradients of the logits, labels and matched areas of a RoI head's step."""
    from mmdet.models.utils import unpack_gt_instances
    from mmdet.structures.bbox import bbox2roi
    from mmengine.structures import InstanceData

    detector = build_detector(detector_config("faster", **area_options))
    samples, maps, proposals = roi_samples(detector)
    roi_head, sampled = detector.roi_head, []
    torch.manual_seed(0)
    for gt, boxes in zip(unpack_gt_instances(samples)[0], proposals, strict=True):
        priors = InstanceData(priors=boxes)
        assigned = roi_head.bbox_assigner.assign(priors, gt)
        sampled.append(roi_head.bbox_sampler.sample(assigned, priors, gt))
    rois = bbox2roi([result.priors for result in sampled])
    with torch.no_grad():
        outputs = roi_head._bbox_forward(maps, rois)
    score = outputs["cls_score"].to(dtype).requires_grad_()
    result = roi_head.bbox_head.loss_and_target(
        score, outputs["bbox_pred"].to(dtype), rois, sampled, roi_head.train_cfg
    )
    result["loss_bbox"]["loss_cls"].backward()
    areas = []
    for one in sampled:
        w, h = (one.pos_gt_bboxes[:, 2:] - one.pos_gt_bboxes[:, :2]).double().unbind(1)
        areas += [w * h, torch.zeros(len(one.neg_priors)).double()]
    return score.grad, result, torch.cat(areas), (roi_head, sampled)


def test_roi_gradients_of_positives_grow_by_phi_and_no_others():
    expected, _, areas, _ = roi_loss()
    grads, result, _, _ = roi_loss(normalize="none", **STRONG)
    positive = areas > 0
    assert positive.sum() > 10
    assert phi(areas[positive]).max() > 4
    assert torch.equal(grads[~positive], expected[~positive])
    torch.testing.assert_close(
        grads[positive].double(),
        expected[positive].double() * phi(areas[positive])[:, None],
        rtol=1e-6,
        atol=1e-12,
    )
    mean = result["loss_bbox"]["area_weight_mean"].double()
    torch.testing.assert_close(mean, phi(areas[positive]).mean(), rtol=1e-6, atol=0)


def test_roi_targets_joined_or_by_image():
    _, _, areas, (roi_head, sampled) = roi_loss(**STRONG)
    args = sampled, roi_head.train_cfg
    _, weights, _, _ = roi_head.bbox_head.get_targets(*args)
    _, parts, _, _ = roi_head.bbox_head.get_targets(*args, concat=False)
    assert [len(part) for part in parts] == [len(one.priors) for one in sampled]
    assert torch.equal(torch.cat(parts), weights)
    positive = areas > 0
    torch.testing.assert_close(weights[positive].mean(), torch.tensor(1.0))
    assert (weights[~positive] == 1).all()


def test_a_weight_of_zero_takes_no_sample_from_the_average():
    """mmdet divides by the number of samples whose label weight is above 0."""
    expected, _, areas, _ = roi_loss()
    nothing = dict(type="StepAreaWeight", sides=(), weights=(0.0,))
    grads, *_ = roi_loss(area_weight=nothing, normalize="none")
    assert torch.equal(grads[areas == 0], expected[areas == 0])
    assert grads[areas > 0].abs().max() < 1e-30


def test_what_the_roi_head_says_of_positives():
    """What the RoI head tells of a RoI: its level by size, and the image."""
    from mmareaaware.models.roi_heads.area_aware_roi_heads import _describe

    roi_head = build_detector(detector_config("faster", **STRONG)).roi_head
    sides = torch.tensor([10.0, 111, 113, 225, 2000])
    rois = torch.stack([sides * 0, sides * 0, sides, sides], 1)
    positives = _describe(
        roi_head.bbox_roi_extractor, 128 * 96, Positives(sides**2), rois
    )
    assert positives.strides.tolist() == [4, 4, 8, 16, 32]  # from 56 px on
    assert positives.level_strides == [4, 8, 16, 32]
    assert positives.image_area == 128 * 96
    assert torch.equal(positives.areas, sides**2)


def test_predicted_areas_are_those_of_the_decoded_boxes():
    """A perfect prediction has no mismatch, so the weight is 1."""
    from mmdet.structures.bbox import bbox2roi

    _, _, _, (roi_head, sampled) = roi_loss(normalize="none")
    head = roi_head.bbox_head
    labels, _, targets, _ = head.get_targets(sampled, roi_head.train_cfg)
    head.area_weight = AreaMismatchWeight()
    positive = labels < NUM_CLASSES
    pred = torch.zeros(len(labels), NUM_CLASSES, 4)
    pred[positive, labels[positive]] = targets[positive]
    rois = bbox2roi([one.priors for one in sampled])
    score = torch.zeros(len(labels), NUM_CLASSES + 1)
    args = score, pred.flatten(1), rois, sampled, roi_head.train_cfg
    result = head.loss_and_target(*args)
    mean = result["loss_bbox"]["area_weight_mean"]
    torch.testing.assert_close(mean, torch.tensor(1.0), rtol=1e-4, atol=0)
    pred[positive, labels[positive]] += torch.tensor([0, 0, 5.0, 5.0])
    result = head.loss_and_target(score, pred.flatten(1), *args[2:])
    assert result["loss_bbox"]["area_weight_mean"] > 1.3


def test_predicted_areas_of_anchors():
    head, (scores, boxes), instances, metas = dense_head("retinanet", normalize="none")
    sizes = [score.shape[2:] for score in scores]
    anchors, valid = head.get_anchors(sizes, metas, device="cpu")
    targets = head.get_targets(anchors, valid, instances, metas)[2]
    head.area_weight = AreaMismatchWeight()
    perfect = [
        target.reshape(2, *size, -1).permute(0, 3, 1, 2)
        for target, size in zip(targets, sizes, strict=True)
    ]
    result = head.loss_by_feat(scores, perfect, instances, metas)
    mean = result["area_weight_mean"]
    torch.testing.assert_close(mean, torch.tensor(1.0), rtol=1e-4, atol=0)
    assert head.loss_by_feat(scores, boxes, instances, metas)["area_weight_mean"] > 1.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(normalize="sum"), "normalize must be one of .* got 'sum'"),
        (dict(strength=2.0), "strength must be in .* got 2.0"),
        (
            dict(area_weight="PowerAreaWeight"),
            "area_weight must be None, .* got 'Power",
        ),
        (dict(area_weight=dict(type="LDAMMargin")), "area_weight must be None"),
    ],
)
@pytest.mark.parametrize("kind", ["faster", "retinanet"])
def test_wrong_options_fail_when_built(kind, change, message):
    with pytest.raises(ValueError, match=message):
        build_detector(detector_config(kind, **change))


def test_an_area_aware_roi_head_around_a_stock_box_head_is_refused():
    model = detector_config("faster", **STRONG)
    model.roi_head.bbox_head = ConfigDict(type="Shared2FCBBoxHead", num_classes=3)
    with pytest.raises(ValueError, match=r"AreaAwareShared2FCBBoxHead.*'Shared2FC"):
        build_detector(model)


def test_a_roi_extractor_of_all_levels():
    """GRoIE's, whose RoIs have no level of their own."""
    model = detector_config("faster", area_weight=dict(type="BoxScaleWeight"))
    model.roi_head.bbox_roi_extractor.update(type="GenericRoIExtractor")
    training_step(build_detector(model), detector_batch())
    model.roi_head.bbox_head.area_weight = dict(type="PyramidMembershipWeight")
    with pytest.raises(ValueError, match=r"needs `.*strides`"):
        training_step(build_detector(model), detector_batch())


def test_a_weight_that_needs_the_image_in_a_stock_roi_head_is_named():
    model = detector_config("faster", area_weight=dict(type="BoxScaleWeight"))
    model.roi_head.type = "StandardRoIHead"
    with pytest.raises(ValueError, match=r"`image_area`.*AreaAwareStandardRoIHead"):
        training_step(build_detector(model), detector_batch())


def test_the_penalty_of_an_rpn_is_on_its_sampled_negatives():
    """Divided by the number of samples, as its classification loss is."""
    model = detector_config("faster", area_weight=None)
    expected, _ = training_step(build_detector(model), detector_batch())
    penalty = dict(type="BgPenaltyLoss", lambda_bg=2.0, loss_weight=1.0)
    model.rpn_head.loss_bg = penalty
    detector = build_detector(model)
    kept, inner = [], detector.rpn_head.weigh_levels
    detector.rpn_head.weigh_levels = lambda *args: kept.append(args) or inner(*args)
    losses, _ = training_step(detector, detector_batch())
    added = losses.keys() - expected.keys()
    assert added == {
        "rpn_loss_bg",
        *(f"rpn_bg_penalty_{k}" for k in ("mean", "max", "min")),
    }
    labels, weights = (torch.cat(x, 1) for x in kept[0][:2])
    number = ((labels == 1) & (weights > 0)).sum()
    total = losses["rpn_bg_penalty_mean"] * number
    samples = (weights > 0).sum()
    torch.testing.assert_close(losses["rpn_loss_bg"], 2 * total / samples)
    assert all(torch.equal(flat(losses[k]), flat(expected[k])) for k in expected)


def test_the_strength_can_be_scheduled():
    from mmareaaware.engine.hooks.loss_param_scheduler_hook import _resolve

    detector = build_detector(detector_config("cascade", **STRONG))
    for path in ("rpn_head.strength", "roi_head.bbox_head.1.strength"):
        owner, name = _resolve(detector, path)
        assert getattr(owner, name) == 1


# Two processes with one image each against one process with both. BatchNorm is in eval
# mode, and every anchor is sampled: the stock heads have the property then.


def _all_anchors(kind) -> ConfigDict:
    model = detector_config(kind, **STRONG)
    if kind == "faster":
        model.train_cfg.rpn.assigner.update(pos_iou_thr=0.5, neg_iou_thr=0.5)
        model.train_cfg.rpn.sampler.update(num=10**6, pos_fraction=1.0)
    return model


def _dense_gradients(rank: int, world_size: int, kind: str) -> list:
    torch.set_num_threads(1)
    detector = build_detector(_all_anchors(kind)).eval()
    head = detector.rpn_head if kind == "faster" else detector.bbox_head
    model = torch.nn.parallel.DistributedDataParallel(head) if world_size > 1 else head
    batch = detector_batch()
    if world_size > 1:
        batch = {k: v[rank : rank + 1] for k, v in batch.items()}
    data = detector.data_preprocessor(batch, True)
    with torch.no_grad():
        maps = detector.extract_feat(data["inputs"])
    outputs = model(maps)
    instances = [sample.gt_instances for sample in data["data_samples"]]
    if kind == "faster":
        for gt in instances:
            gt.labels = torch.zeros_like(gt.labels)
    metas = [sample.metainfo for sample in data["data_samples"]]
    losses = head.loss_by_feat(*outputs, instances, metas)
    sum(sum(v) for k, v in losses.items() if "loss" in k).backward()
    return [p.grad.numpy() for p in head.parameters()]


@pytest.mark.parametrize("kind", ["faster", "atss"])
def test_two_processes_give_the_gradients_of_one(kind, free_port):
    grads = rank_0_of_2(_dense_gradients, free_port, kind)
    for grad, expected in zip(grads, _dense_gradients(0, 1, kind), strict=True):
        scale = abs(expected).max()
        assert abs(grad - expected).max() <= 1e-3 * scale + 1e-12


@pytest.mark.parametrize("variant", ["pos-weighted_ohem", "pos-weighted_rpn-focal"])
def test_next_steps_of_the_recipe_train(variant):
    """Losses and samplers of the variants, in a size-aware detector."""
    path = f"configs/faster_rcnn/faster-rcnn_r50_fpn_{variant}_1x_coco.py"
    recipe = Config.fromfile(ROOT / path).model
    model = detector_config("faster", **STRONG)
    model.rpn_head.loss_cls = recipe.rpn_head.loss_cls
    model.roi_head.bbox_head.loss_cls = recipe.roi_head.bbox_head.loss_cls
    model.train_cfg = recipe.train_cfg
    for boxes_per_image in ((7, 4), (0, 0)):
        batch = detector_batch(boxes_per_image)
        losses, grads = training_step(build_detector(model), batch)
        assert all(flat(value).isfinite().all() for value in losses.values())
        assert all(grad.isfinite().all() for grad in grads.values())


def test_rois_are_seen_against_the_area_of_the_network_input():
    weight = dict(type="BoxScaleWeight")
    detector = build_detector(detector_config("cascade", area_weight=weight))
    seen, batch = [], detector_batch()
    batch["inputs"][0] = batch["inputs"][0][:, :90]  # smaller than the batch
    batch["data_samples"][0].set_metainfo(dict(img_shape=(90, 128)))
    for head in detector.roi_head.bbox_head:
        head.area_weight = noting(seen)
    training_step(detector, batch)
    assert [positives.image_area for positives in seen] == [128 * 128] * 3
