"""Boxes under a homography, in float64."""

import numpy as np


def project(boxes: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """The boxes around the four projected corners of boxes (G, 4), xyxy in px."""
    x1, y1, x2, y2 = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
    corners = np.stack([[x1, y1], [x2, y1], [x1, y2], [x2, y2]])  # (4, 2, G)
    ones = np.ones_like(corners[:, :1])
    moved = np.asarray(homography, np.float64) @ np.concatenate([corners, ones], 1)
    moved = moved[:, :2] / moved[:, 2:]
    return np.concatenate([moved.min(0), moved.max(0)]).T
