"""Voting against the formula in float64, box by box, and in every head with NMS."""

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, TASK_UTILS, DefaultScope
from mmengine.structures import InstanceData

from mmareaaware.models import BoxVoting
from mmareaaware.models.dense_heads import box_voting
from tests.conftest import SIZE, features, head_config
from tests.test_models.test_dense_heads import heads_of_mmdet, yolo_heads

# The boxes of networks that have learned nothing overlap little
VOTING = dict(type="BoxVoting", sigma=0.5, iou_thr=0.05)
NMS = dict(type="nms", iou_threshold=0.1)
ALL_BOXES = dict(nms=dict(type="nms", iou_threshold=1.0), max_per_img=100000)
KINDS = [k for k in heads_of_mmdet.KINDS if k not in heads_of_mmdet.QUERY_KINDS]


def detections(number: int, seed: int, dtype=torch.float32) -> InstanceData:
    """Boxes around a few objects of three classes, by falling score."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.tensor([[30.0, 40], [60, 40], [90, 90]])
    centre = centre[torch.randint(3, (number,), generator=generator)]
    centre = centre + torch.randn(number, 2, generator=generator) * 2
    side = 16 + torch.randn(number, 2, generator=generator) * 3
    return InstanceData(
        bboxes=torch.cat([centre - side / 2, centre + side / 2], 1).to(dtype),
        scores=torch.rand(number, generator=generator)
        .sort(descending=True)[0]
        .to(dtype),
        labels=torch.randint(3, (number,), generator=generator),
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = sides.clip(0).prod()
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


def by_formula(kept, candidates, agreement=2.0, contest=1.0, sigma=0.025, iou_thr=0.5):
    """Boxes and scores in float64, one at a time, not sorted."""
    boxes, scores = [], []
    others = candidates.bboxes.double().numpy()
    trusts = candidates.scores.double().numpy()
    for box, score, label in zip(
        kept.bboxes.double().numpy(),
        kept.scores.double().numpy(),
        kept.labels,
        strict=True,
    ):
        u = np.array([iou(box, other) for other in others])
        votes_for = {
            int(c): trusts[(u >= iou_thr) & (candidates.labels == c).numpy()].sum()
            for c in candidates.labels.unique()
        }
        share = votes_for[int(label)] / max(votes_for.values())
        voters = (u >= iou_thr) & (candidates.labels == label).numpy()
        s, u = trusts[voters], u[voters]
        v = s * np.exp(-((1 - u) ** 2) / sigma)
        boxes.append((v[:, None] * others[voters]).sum(0) / v.sum())
        agreeing = (s * u).sum() / s.sum()
        scores.append(score * agreeing**agreement * share**contest)
    return np.array(boxes), np.array(scores)


@pytest.mark.parametrize(
    "settings",
    [{}, dict(agreement=3.5, contest=0.5, sigma=0.1, iou_thr=0.3), dict(contest=0)],
    ids=str,
)
@pytest.mark.parametrize("pairs", [box_voting.PAIRS, 100], ids=["at once", "in parts"])
def test_against_the_formula(monkeypatch, settings, pairs):
    """Also where kept boxes are looked at a few at a time."""
    monkeypatch.setattr(box_voting, "PAIRS", pairs)
    candidates = detections(60, seed=0)
    kept = candidates[::7]
    kept.number = torch.arange(len(kept))
    boxes, scores = by_formula(kept, candidates, **settings)
    order = np.argsort(-scores)
    assert (order != np.arange(len(kept))).any()  # or the sorting would not be seen
    found = BoxVoting(**settings)(kept, candidates)
    assert found.number.tolist() == order.tolist()
    assert found.labels.tolist() == kept.labels[order].tolist()
    np.testing.assert_allclose(found.bboxes.numpy(), boxes[order], rtol=1e-5)
    np.testing.assert_allclose(found.scores.numpy(), scores[order], rtol=1e-5)


@pytest.mark.parametrize("iou_thr", [0.1, 0.25, 0.5, 0.75])
def test_voters_are_all_that_overlap(iou_thr):
    """Of boxes of whole pixels, whose overlaps are often the threshold itself."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 12, (600, 2), generator=generator).float()
    side = torch.randint(0, 8, (600, 2), generator=generator).float()
    candidates = InstanceData(bboxes=torch.cat([corner, corner + side], 1))
    kept = candidates[::6]
    row, voter, overlap = BoxVoting(iou_thr=iou_thr)._pairs(kept, candidates)
    overlaps = bbox_overlaps(kept.bboxes, candidates.bboxes)
    expected = (overlaps >= iou_thr).nonzero().tolist()
    assert sorted(zip(row.tolist(), voter.tolist(), strict=True)) == [
        tuple(pair) for pair in expected
    ]
    assert torch.equal(overlap, overlaps[row, voter])


def test_the_class_with_most_votes_keeps_its_score():
    """One object, found as two classes: by three priors, and by one with more trust."""
    boxes = torch.tensor([[10.0, 10, 30, 30]]).repeat(4, 1)
    candidates = InstanceData(
        bboxes=boxes,
        scores=torch.tensor([0.6, 0.5, 0.3, 0.2]),
        labels=torch.tensor([7, 2, 2, 2]),
    )
    found = BoxVoting()(candidates[:2], candidates)
    by_class = dict(zip(found.labels.tolist(), found.scores.tolist(), strict=True))
    assert found.labels.tolist() == [2, 7]
    assert by_class[2] == pytest.approx(0.5)
    assert by_class[7] == pytest.approx(0.6 * 0.6 / 1.0)
    # Elsewhere it has no rival
    candidates.bboxes[1:] += 100
    found = BoxVoting()(candidates[:2], candidates)
    assert found.scores.tolist() == candidates.scores[:2].tolist()


def test_without_agreement_and_contest_scores_keep_every_bit():
    candidates = detections(60, seed=0)
    kept = candidates[::7]
    found = BoxVoting(agreement=0, contest=0)(kept, candidates)
    assert torch.equal(found.scores, kept.scores)
    assert (found.bboxes - kept.bboxes).abs().max() > 0.1


def test_a_detection_alone_stays_as_it_is():
    kept = detections(1, seed=0)
    found = BoxVoting()(kept, kept)
    torch.testing.assert_close(found.bboxes, kept.bboxes)
    assert torch.equal(found.scores, kept.scores)


def test_what_cannot_vote_is_left_alone():
    """Boxes without an area, scores of 0, and no detection at all."""
    boxes = torch.tensor([[5.0, 5, 5, 9], [20, 20, 30, 30], [50, 50, 60, 60]])
    kept = InstanceData(
        bboxes=boxes, scores=torch.tensor([0.5, 0.4, 0]), labels=torch.zeros(3).long()
    )
    found = BoxVoting()(kept, kept)
    torch.testing.assert_close(found.bboxes, boxes)
    assert torch.equal(found.scores, kept.scores)
    assert len(BoxVoting()(kept[:0], kept[:0])) == 0
    # Only a voter whose weight is too small for a number
    kept = InstanceData(
        bboxes=boxes[1:2], scores=torch.zeros(1), labels=torch.zeros(1).long()
    )
    near = InstanceData(
        bboxes=boxes[1:2] + 2, scores=torch.ones(1), labels=torch.zeros(1).long()
    )
    found = BoxVoting(sigma=1e-4, iou_thr=0.4)(kept, near)
    assert torch.equal(found.bboxes, kept.bboxes)


def test_half_precision():
    """Computed in float32: the votes of 300 boxes would lose digits."""
    candidates = detections(300, seed=1, dtype=torch.float16)
    kept = candidates[::50]
    found = BoxVoting()(kept, candidates)
    assert found.bboxes.dtype == found.scores.dtype == torch.float16
    boxes, scores = by_formula(kept, candidates)
    order = np.argsort(-scores)
    np.testing.assert_allclose(found.bboxes.numpy(), boxes[order], rtol=1e-3)
    np.testing.assert_allclose(found.scores.numpy(), scores[order], rtol=2e-3)


@pytest.mark.parametrize(
    "settings",
    [
        dict(agreement=-1),
        dict(contest=-1),
        dict(sigma=0),
        dict(iou_thr=0),
        dict(iou_thr=1),
    ],
    ids=str,
)
def test_values_out_of_range(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        TASK_UTILS.build(dict(VOTING, **settings))


def predict_mmdet(kind: str, is_stock: bool = False, **test_cfg):
    """Detections of two images of a head of mmdet, in pixels of the original."""
    head = heads_of_mmdet.build_head(kind, is_stock).eval()
    head.test_cfg = ConfigDict(
        head.test_cfg, score_thr=0.02, **dict(nms=NMS) | test_cfg
    )
    _, metas, _ = heads_of_mmdet.ground_truth()
    for meta in metas:
        meta.update(scale_factor=(0.5, 0.5), ori_shape=(2 * SIZE, 2 * SIZE))
    outputs = heads_of_mmdet.outputs_of(kind)
    if kind == "FCOSHead":  # whose distances are in strides in a training
        outputs[1] = [16 * level for level in outputs[1]]
    return head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=True)


def as_the_vote_says(voted, plain, all_boxes):
    """The stock detections, voted on by what the same head gives without NMS."""
    for found, kept, candidates in zip(voted, plain, all_boxes, strict=True):
        assert 1 < len(kept) < len(candidates)
        expected = TASK_UTILS.build(VOTING)(kept, candidates)
        assert torch.equal(found.labels, expected.labels)
        # Summed in another order
        torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
        assert not torch.equal(found.scores, kept.scores)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_of_mmdet(kind):
    """Candidates are those of the stock head, with IoU 1 as the limit of its NMS."""
    is_stock = kind != "SSDHead"  # mmdet 3.3's cannot predict
    as_the_vote_says(
        predict_mmdet(kind, box_voting=VOTING),
        predict_mmdet(kind, is_stock),
        predict_mmdet(kind, is_stock, **ALL_BOXES),
    )


OF_MMYOLO = dict(score_thr=0.02, nms_pre=3000, max_per_img=300, multi_label=True)
# From the border, where boxes are cut after NMS
FAR = dict(pad_param=[-1000] * 4, scale_factor=(0.5, 0.5), ori_shape=(9999, 9999))


def predict_mmyolo(name: str, is_ours: bool = False, **test_cfg):
    """Detections of two images of a head of mmyolo, in pixels of the original."""
    nms = dict(type="nms", iou_threshold=0.7)
    test_cfg = (
        dict(score_thr=0.02, nms_pre=3000, nms=nms, max_per_img=300, multi_label=True)
        | test_cfg
    )
    head = yolo_heads.build(name, is_ours, test_cfg=test_cfg).eval()
    with torch.no_grad():
        outputs = head(yolo_heads.maps_of(head))
        return head.predict_by_feat(*outputs, batch_img_metas=[FAR] * 2, rescale=True)


@pytest.mark.parametrize("name", yolo_heads.HEADS)
def test_heads_of_mmyolo(name):
    as_the_vote_says(
        predict_mmyolo(name, is_ours=True, box_voting=VOTING),
        predict_mmyolo(name),
        predict_mmyolo(name, **ALL_BOXES),
    )


def test_the_head_of_yolov8():
    def predict(head_type: str, **test_cfg):
        cfg = dict(OF_MMYOLO, nms=NMS) | test_cfg
        torch.manual_seed(0)
        head = MODELS.build(head_config(head_type, test_cfg=cfg)).eval()
        with torch.no_grad():
            outputs = head(features(2))
            metas = [FAR] * 2
            return head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=True)

    as_the_vote_says(
        predict("AreaAwareYOLOv8Head", box_voting=VOTING),
        predict("YOLOv8Head"),
        predict("YOLOv8Head", **ALL_BOXES),
    )


def test_nothing_to_vote_on_where_nms_is_left_out():
    """As test-time augmentation asks, which merges the boxes of several views."""
    head = heads_of_mmdet.build_head("RetinaHead").eval()
    _, metas, _ = heads_of_mmdet.ground_truth()
    outputs = heads_of_mmdet.outputs_of("RetinaHead")

    def predict(**test_cfg):
        cfg = ConfigDict(head.test_cfg, **test_cfg)
        return head.predict_by_feat(
            *outputs, batch_img_metas=metas, cfg=cfg, with_nms=False
        )

    for found, plain in zip(predict(box_voting=VOTING), predict(), strict=True):
        assert torch.equal(found.bboxes, plain.bboxes)
        assert torch.equal(found.scores, plain.scores)


@pytest.mark.parametrize("wrong", [True, dict(sigma=0.1), dict(type="FocalLoss")])
def test_a_wrong_config_is_refused_when_built(wrong):
    with pytest.raises((ValueError, KeyError), match=r"box_voting|FocalLoss"):
        MODELS.build(head_config(test_cfg=dict(box_voting=wrong)))


def test_proposals_are_not_voted_on():
    head = dict(type="AreaAwareRPNHead", in_channels=8)
    with (
        DefaultScope.overwrite_default_scope("mmdet"),
        pytest.raises(ValueError, match="AreaAwareRPNHead gives proposals"),
    ):
        MODELS.build(dict(head, test_cfg=dict(box_voting=VOTING)))
