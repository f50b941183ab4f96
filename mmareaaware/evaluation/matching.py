"""Detections against the ground truth of an image."""

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps

# The kinds of false positives, by number; after them come the other detections.
KINDS = ("bg", "dup", "loc", "cls", "both")
BG, DUP, LOC, CLS, BOTH, TRUE_POSITIVE, IGNORED = range(7)


def read_sample(sample: dict) -> tuple[dict, dict, np.ndarray]:
    """Predictions and ground truth of an image, as arrays.

    Args:
        sample: A data sample that went through a test, as a dict.

    Returns:
        ``bboxes``, ``labels`` and ``scores`` of the predictions, ``bboxes`` and
        ``labels`` of the ground truth, and the ignored boxes (I, 4).

    Raises:
        ValueError: There is no ground truth in the data sample.
    """
    if "bboxes" not in sample["gt_instances"]:
        raise ValueError(
            "no ground truth in the data samples: the test pipeline needs "
            "dict(type='LoadAnnotations', with_bbox=True)"
        )
    pred, gt = sample["pred_instances"], sample["gt_instances"]
    return (
        {key: _to_numpy(pred[key]) for key in ("bboxes", "labels", "scores")},
        {key: _to_numpy(gt[key]) for key in ("bboxes", "labels")},
        _to_numpy(sample["ignored_instances"]["bboxes"]),
    )


def match(
    pred: dict,
    gt: dict,
    ignored: np.ndarray,
    iou_thr: float = 0.5,
    bg_iou_thr: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """What each detection of an image is, as ``BackgroundFPMetric`` explains.

    A match depends on higher scores only, so this holds at any score threshold.

    Args:
        pred: Boxes (P, 4), labels and scores (P,), see ``read_sample``.
        gt: Boxes (G, 4) and labels (G,).
        ignored: Boxes (I, 4).
        iou_thr: IoU from which a detection matches a box.
        bg_iou_thr: IoU below which a detection is on background.

    Returns:
        For each detection (P,) the number of its kind in ``KINDS``, ``TRUE_POSITIVE``,
        or ``IGNORED``; and the index of the box it matched, or -1.
    """
    same = pred["labels"][:, None] == gt["labels"]  # (P, G)
    overlaps = bbox_overlaps(pred["bboxes"], gt["bboxes"])  # (P, G)
    own = np.where(same, overlaps, 0).max(axis=1, initial=0)  # (P,)
    other = np.where(same, 0, overlaps).max(axis=1, initial=0)  # (P,)
    kinds = np.select(
        [
            (own >= bg_iou_thr) & (own < iou_thr),
            other >= iou_thr,
            own >= iou_thr,
            np.maximum(own, other) < bg_iou_thr,
        ],
        [LOC, CLS, DUP, BG],
        BOTH,
    )
    inside = bbox_overlaps(pred["bboxes"], ignored, mode="iof") > 0.5  # (P, I)
    kinds[inside.any(axis=1)] = IGNORED
    matched = np.full(len(kinds), -1)
    free = np.where(same & (overlaps >= iou_thr), overlaps, 0)
    for row in np.argsort(-pred["scores"], kind="stable"):
        if free[row].any():
            matched[row] = free[row].argmax()
            free[:, matched[row]] = 0
    kinds[matched >= 0] = TRUE_POSITIVE
    return kinds, matched


def _to_numpy(value) -> np.ndarray:
    """Of a tensor, or of mmdet's box types, which have the same methods."""
    return value.detach().cpu().numpy()
