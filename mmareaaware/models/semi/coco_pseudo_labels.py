"""Pseudo-labels of a whole data set, given once, in a file."""

from collections.abc import Mapping, Sequence

from mmengine.structures import InstanceData

from .projection import has_sides
from .thresholds import PseudoThresholds


def pseudo_labelled(
    content: Mapping,
    found: Mapping[int, InstanceData],
    category_ids: Sequence[int],
    thresholds: PseudoThresholds,
    min_side: float = 2.0,
) -> dict:
    """A COCO file with a detector's labels in place of its own.

    A detection with the upper threshold of its class is a box; one with the lower
    threshold is a crowd, which a training leaves alone, see
    `AreaAwareYOLOv8Head`; others are left out. These are the three zones of
    `PseudoLabeller`.

    Args:
        content: Of the file. Its annotations are not looked at.
        found: The detections on each image, by its id: ``bboxes`` (K, 4), xyxy in px,
            ``scores`` and ``labels`` (K,).
        category_ids: The category of each label, (C,).
        thresholds: Two scores for each class, see `FixedThresholds`.
        min_side: What has a shorter side, in px, is left out.

    Returns:
        The content with the same images, and annotations with ``score``.

    Raises:
        ValueError: An image has no entry in ``found``.
    """
    annotations = []
    for image in content["images"]:
        if image["id"] not in found:
            raise ValueError(f"no detections of image {image['id']}, not even none")
        detections = found[image["id"]]
        high = thresholds.high.to(detections.scores.device)
        is_known = detections.scores >= thresholds.low
        detections = detections[is_known & has_sides(detections.bboxes, min_side)]
        is_pseudo = detections.scores >= high[detections.labels]
        rows = zip(
            detections.bboxes.tolist(),
            detections.labels.tolist(),
            detections.scores.tolist(),
            is_pseudo.tolist(),
            strict=True,
        )
        for (x1, y1, x2, y2), label, score, is_sure in rows:
            width, height = x2 - x1, y2 - y1
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image["id"],
                    category_id=category_ids[label],
                    bbox=[x1, y1, width, height],
                    area=width * height,
                    iscrowd=int(not is_sure),
                    score=score,
                )
            )
    return dict(content, annotations=annotations)
