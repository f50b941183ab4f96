"""Priors of a YOLOv8 that no box is to be found at, and none is to be denied at."""

from collections.abc import Sequence

from torch import Tensor

from ..boxes_of_images import flat_ignored
from ..losses.bg_penalty_loss import outside_background
from .yolo_matching import Matched


def leave_out(
    matched: Matched, instances: Tensor | Sequence | None
) -> tuple[Matched, Tensor | None]:
    """Priors without a target inside ignored boxes.

    Args:
        matched: With P positives.
        instances: The ignored boxes, as for ``AreaAwareYOLOv8Head.loss_by_feat``.

    Returns:
        The same, but of the positives those priors have no target at all instead of
        next to none; and which they are, (B, N) bool, None where none can be.
    """
    flat = flat_ignored(instances)
    if flat is None:
        return matched, None
    images, boxes = flat
    covered = matched.priors.grid.covered(boxes, images, matched.logits.shape[0])
    ignored = covered & ~outside_background(matched.score_sums)
    score = matched.targets.score.masked_fill(ignored[matched.positives], 0)
    return matched._replace(targets=matched.targets._replace(score=score)), ignored
