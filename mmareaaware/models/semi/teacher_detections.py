"""What a teacher sees on the images that it is given, in the pixels that it is given.

The head's own ``predict`` clamps to the original image whatever it is asked, which in a
view that is larger, or shifted, cuts boxes off.
"""

import torch
from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from mmyolo.models import YOLODetector
from torch import Tensor

from ..dense_heads.yolo_matching import outputs_for_sparse_matching
from ..precision import at_least_float32
from .box_quality import BoxQuality

# Of an image, as many detections enter the NMS at most.
MAX_CANDIDATES = 1000


@torch.no_grad()
def detect(
    detector: YOLODetector,
    images: Tensor,
    *,
    score_thr: float,
    nms_iou: float,
    max_per_img: int,
    box_quality: BoxQuality | None = None,
) -> list[InstanceData]:
    """Detections after NMS, each prior with its best class.

    Args:
        detector: In eval mode, its head module one of YOLOv8 or YOLO11.
        images: Preprocessed, (B, 3, H, W).
        score_thr: Detections below it are left out.
        nms_iou: Of two boxes of a class that overlap more, the better one stays.
        max_per_img: As many are kept at most, the best.
        box_quality: Which boxes may be learnt; None for none of them.

    Returns:
        For each image ``bboxes`` (K, 4), xyxy in px of the network input and clipped by
        nothing, ``scores`` (K,), falling, ``labels`` (K,), and ``is_exact`` (K,), what
        the box quality says. Scores and boxes are float32.
    """
    head = detector.bbox_head
    features = detector.extract_feat(images)
    outputs = outputs_for_sparse_matching(head.head_module, features)
    logits = torch.cat([x.flatten(2) for x in outputs[0]], 2)  # (B, C, N)
    distances = torch.cat([x.flatten(2) for x in outputs[1]], 2)  # (B, 4, N)
    best, labels = at_least_float32(logits).max(1)
    scores = best.sigmoid()  # (B, N)
    points = torch.cat(
        head.prior_generator.grid_priors(
            [x.shape[2:] for x in outputs[0]],
            dtype=scores.dtype,
            device=scores.device,
            with_stride=True,
        )
    )
    dists = None if box_quality is None else torch.cat(list(outputs[2]), 1)

    results = []
    for i in range(len(images)):
        number = min(MAX_CANDIDATES, scores.size(1))
        score, prior = scores[i].topk(number)
        is_above = score >= score_thr
        score, prior = score[is_above], prior[is_above]
        at, stride = points[prior, :2], points[prior, 2]
        sides = at_least_float32(distances[i, :, prior]).T
        boxes = head.bbox_coder.decode(at, sides[None], stride)[0]
        label = labels[i, prior]
        kept = _nms(boxes, score, label, nms_iou)[:max_per_img]
        is_exact = torch.zeros_like(kept, dtype=torch.bool)
        if box_quality is not None:
            rows = at_least_float32(dists[i, prior[kept]])  # (K, 4, reg_max)
            is_exact = box_quality(rows, boxes[kept], stride[kept])
        results.append(
            InstanceData(
                bboxes=boxes[kept],
                scores=score[kept],
                labels=label[kept],
                is_exact=is_exact,
            )
        )
    return results


def _nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Indices of the boxes that stay, the best first."""
    if not len(boxes):  # which mmcv does not take
        return labels
    _, kept = batched_nms(boxes, scores, labels, dict(type="nms", iou_threshold=iou))
    return kept
