"""Soft non-maximum suppression (https://arxiv.org/abs/1704.04503), on the CPU.

Each step depends on the one before: a loop over the boxes that stay, each step of which
weighs all others at once. mmcv brings its boxes to the CPU, where NumPy does small
steps faster than torch.
"""

import numpy as np
import torch
from torch import Tensor

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2  # method


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of boxes that overlap better ones.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2.
        scores: (N,)
        dets: (N, 5), whose first K rows are written: boxes and their new scores.
        iou_threshold: From here on a better box counts, but for the Gaussian method.
        sigma: Of the Gaussian method.
        min_score: Boxes whose score falls below go.
        method: 0 naive, 1 linear, 2 Gaussian.
        offset: 0, or 1 where a box from pixel 3 to pixel 3 is one pixel wide.

    Returns:
        Indices of the boxes that stay, (K,), best first.
    """
    rows = np.empty((len(boxes), 6), np.float32)
    rows[:, :4] = boxes.detach().numpy()
    rows[:, 4] = scores.detach().numpy()
    size = rows[:, 2:4] - rows[:, :2] + np.float32(offset)
    rows[:, 5] = size[:, 0] * size[:, 1]
    index = np.arange(len(boxes))
    threshold, min_score = np.float32(iou_threshold), np.float32(min_score)
    done = 0
    while done < len(rows):
        best = done + _first_maximum(rows[done:, 4])
        rows[[done, best]] = rows[[best, done]]
        index[[done, best]] = index[[best, done]]
        one, others = rows[done], rows[done + 1 :]
        iou = _iou(one, others, np.float32(offset))
        if method == GAUSSIAN:
            exponent = -(iou * iou) / np.float32(sigma)
            # C's expf rounds all but exactly; NumPy's, for floats, does not.
            others[:, 4] *= np.exp(exponent, dtype=np.float64).astype(np.float32)
        elif method == LINEAR:
            others[:, 4] *= np.where(iou >= threshold, 1 - iou, np.float32(1))
        elif method == NAIVE:
            others[:, 4] *= ~(iou >= threshold)
        done += 1
        rows, index = _drop(rows, index, done, rows[done:, 4] < min_score)
    dets[: len(rows)] = torch.from_numpy(rows[:, :5])
    return torch.from_numpy(index)


def _first_maximum(scores: np.ndarray) -> int:
    """Index of it, as comparing one by one finds it: NaN is never more, nor less.

    Boxes without area overlap by 0 / 0; the Gaussian method passes that on.
    """
    if np.isnan(scores[0]):
        return 0
    return int(np.where(np.isnan(scores), -np.inf, scores).argmax())


def _iou(one: np.ndarray, others: np.ndarray, offset: np.float32) -> np.ndarray:
    """IoU of a row with others, (N,)."""
    size = np.minimum(one[2:4], others[:, 2:4]) - np.maximum(one[:2], others[:, :2])
    size = np.maximum(size + offset, 0)
    inter = size[:, 0] * size[:, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return inter / (one[5] + others[:, 5] - inter)


def _drop(
    rows: np.ndarray, index: np.ndarray, begin: int, gone: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Remove rows from `begin` on, in mmcv's way: the last ones fill the gaps.

    The order matters where scores are equal.
    """
    if not gone.any():
        return rows, index
    stays = len(gone) - np.count_nonzero(gone)
    gaps = begin + gone[:stays].nonzero()[0]
    fillers = begin + stays + (~gone[stays:]).nonzero()[0][::-1]
    rows[gaps], index[gaps] = rows[fillers], index[fillers]
    return rows[: begin + stays], index[: begin + stays]
