"""All priors of a YOLOv8 as an area weight sees them, by the boxes they predict."""

from dataclasses import replace

from ..box_areas import box_areas
from ..losses import Positives
from .yolo_matching import Matched


def as_predicted(positives: Positives, matched: Matched) -> Positives:
    r"""What an area weight is to look at if it is to weigh background too.

    A weight w by the true box, of positives alone, moves the best score of a prior that
    is positive with probability :math:`\pi`, and then has the mean target :math:`\tau`,
    from :math:`\tau\pi` to :math:`\tau\sigma(\mathrm{logit}\,\pi + \ln w)`. A weight by
    the predicted box is the same whether the prior turns out to be positive or not. It
    leaves the best score where it is, and changes how much it matters to come near.

    Args:
        positives: Has what else there is to look at.
        matched: Of the batch.

    Returns:
        Of all priors, the areas (B, N) of their predictions in place of the true ones.
    """
    areas = box_areas(matched.all_pred_boxes)
    strides = matched.priors.points[:, 2]
    return replace(positives, areas=areas, pred_areas=areas, strides=strides)
