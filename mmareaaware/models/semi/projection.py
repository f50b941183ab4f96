"""Boxes of one view of an image in another view of it."""

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


def view_to_view(source: BaseDataElement, target: BaseDataElement) -> np.ndarray:
    """The homography from the network input of one view to that of another, (3, 3).

    Args:
        source: Data sample with ``homography_matrix``, from the original image to the
            network input, everything included, padding too.
        target: That of the other view of the same image.
    """
    to_source, to_target = map(_homography, (source, target))
    return to_target @ np.linalg.inv(to_source)


def project(boxes: Tensor, homography: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """The boxes around the projected corners of boxes, clipped.

    Args:
        boxes: xyxy in px, (G, 4), float32 or wider.
        homography: (3, 3).
        shape: Height and width in px to clip to.

    Returns:
        (G, 4), at the precision of the boxes, under autocast too: it touches no element
        by element product, and there are no others.
    """
    x, y = boxes[:, [0, 2, 0, 2]], boxes[:, [1, 1, 3, 3]]  # (G, 4), the corners
    rows = homography.tolist()
    x, y, w = (a * x + b * y + c for a, b, c in rows)
    height, width = shape
    x, y = (x / w).clamp(0, width), (y / w).clamp(0, height)
    return torch.stack([x.amin(1), y.amin(1), x.amax(1), y.amax(1)], 1)


def has_sides(boxes: Tensor, least: float) -> Tensor:
    """Which boxes (G, 4) have no side shorter than this, in px; nan has none."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= least).all(1)


def check_has_homography(sample: BaseDataElement, branch: str) -> None:
    """See that boxes can be taken from and to a view.

    Raises:
        ValueError: The data sample has no ``homography_matrix``, or it is not all.
    """
    if sample.get("homography_matrix") is None:
        raise ValueError(
            f"the data samples of {branch} have no homography_matrix, without which "
            "pseudo-boxes land elsewhere: in its pipeline use transforms that record "
            "theirs, and PackDetInputs with 'homography_matrix' in meta_keys"
        )
    if len(sample.img_shape) != 2:  # as MMYOLO's leave it
        raise ValueError(
            f"img_shape of {branch} is {tuple(sample.img_shape)}, with channels: a "
            "transform of MMYOLO made it, LetterResize or YOLOv5RandomAffine, which "
            "does not record what it does to boxes. Use HomographyLetterResize and "
            "IgnoreAwareRandomAffine"
        )


def _homography(sample: BaseDataElement) -> np.ndarray:
    return np.asarray(sample.homography_matrix, dtype=np.float64)
