"""From a teacher's detections on the weak views to targets on the strong views."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from mmyolo.models import YOLODetector
from torch import Tensor, nn

from ..dense_heads.box_trust import BoxTrust
from .box_quality import BoxQuality
from .projection import has_sides, project, view_to_view
from .teacher_detections import detect
from .thresholds import PseudoThresholds

SCORES_AS = ("weights", "targets")


class PseudoLabels(NamedTuple):
    """What a teacher says of the unlabelled images of a batch."""

    detections: list[InstanceData]  # in the weak views, from the lower threshold on
    is_pseudo: list[Tensor]  # which of them are pseudo-boxes; others are uncertain
    boxes: Tensor  # pseudo-boxes in the strong views, (G, 6): image, label, xyxy
    scores: Tensor  # theirs, (G,)
    is_exact: Tensor  # which of them take part in the box losses, (G,)
    ignored: Tensor  # ignored regions in the strong views, (M, 5): image, xyxy


class PseudoLabeller(nn.Module):
    """Sorts a teacher's detections into three zones, and takes them to another view.

    From the threshold of its class on a detection is a pseudo-box; below it and from
    the lower threshold on, an ignored region, in which the student may find something
    or not; what lies below is background.

    Args:
        num_classes: Number C of classes.
        thresholds: Config of ``FixedThresholds``, ``ClassCountThresholds`` or
            ``F1Thresholds``.
        scores_as: ``'weights'``: the score of a pseudo-box is the weight of its
            positives in the losses. ``'targets'``: it is a factor of their soft
            targets.
        box_quality: Config of what decides which pseudo-boxes take part in the box
            losses, ``DistributionSharpness``; None for none of them.
        nms_iou: Of two detections of a class that overlap more, the better one stays.
        max_per_img: As many detections of an image count at most.
        min_side: What has a shorter side in the strong view, in px, is dropped.

    Raises:
        ValueError: A value is out of range, or something else is built.
    """

    def __init__(
        self,
        num_classes: int,
        thresholds: Mapping | None = None,
        scores_as: str = "weights",
        box_quality: Mapping | None = None,
        nms_iou: float = 0.6,
        max_per_img: int = 300,
        min_side: float = 2.0,
    ) -> None:
        super().__init__()
        thresholds = dict(thresholds or dict(type="FixedThresholds"))
        self.thresholds = TASK_UTILS.build(thresholds)
        if not isinstance(self.thresholds, PseudoThresholds):
            raise ValueError(
                "thresholds must be one of FixedThresholds, ClassCountThresholds, "
                f"F1Thresholds, got {thresholds}"
            )
        if scores_as not in SCORES_AS:
            raise ValueError(f"scores_as must be one of {SCORES_AS}, got {scores_as!r}")
        quality = None if box_quality is None else TASK_UTILS.build(dict(box_quality))
        if not isinstance(quality, BoxQuality | None):
            raise ValueError(
                "box_quality must be None or dict(type='DistributionSharpness', ...), "
                f"got {box_quality}"
            )
        if not 0 < nms_iou <= 1:
            raise ValueError(f"nms_iou must be in (0, 1], got {nms_iou}")
        if not max_per_img >= 1:
            raise ValueError(f"max_per_img must be at least 1, got {max_per_img}")
        if not min_side > 0:
            raise ValueError(f"min_side must be positive, got {min_side}")
        self.thresholds.set_num_classes(num_classes)
        self.scores_as = scores_as
        self.box_quality = quality
        self.nms_iou = nms_iou
        self.max_per_img = max_per_img
        self.min_side = min_side

    def detect(self, teacher: YOLODetector, images: Tensor) -> list[InstanceData]:
        """The teacher's detections from the lower threshold on, see ``detect``."""
        return detect(
            teacher,
            images,
            score_thr=self.thresholds.low,
            nms_iou=self.nms_iou,
            max_per_img=self.max_per_img,
            box_quality=self.box_quality,
        )

    @torch.no_grad()
    def label(
        self,
        detections: Sequence[InstanceData],
        weak: Sequence[DetDataSample],
        strong: Sequence[DetDataSample],
    ) -> PseudoLabels:
        """Sort detections, and project them.

        Args:
            detections: From ``detect``, of each image.
            weak: Data samples of the views that they are on. Of these and the next only
                ``homography_matrix`` and ``img_shape`` are looked at.
            strong: Those of the views that the student gets, of the same images.

        Returns:
            The labels.
        """
        high = self.thresholds.high
        is_pseudo = [found.scores >= high[found.labels] for found in detections]
        boxes, scores, exact, ignored = [], [], [], []
        for image, (found, source, target) in enumerate(
            zip(detections, weak, strong, strict=True)
        ):
            to_target = view_to_view(source, target)
            inside = clip(found.bboxes, source.img_shape)
            projected = project(inside, to_target, target.img_shape)
            rows = torch.cat([projected.new_full((len(found), 1), image), projected], 1)
            stays = has_sides(projected, self.min_side)
            kept = stays & is_pseudo[image]
            labels = found.labels[kept].to(rows.dtype)
            boxes.append(
                torch.cat([rows[kept, :1], labels[:, None], rows[kept, 1:]], 1)
            )
            scores.append(found.scores[kept])
            exact.append(found.is_exact[kept])
            ignored.append(rows[stays & ~is_pseudo[image]])
        joint = map(torch.cat, (boxes, scores, exact, ignored))
        return PseudoLabels(list(detections), is_pseudo, *joint)

    def trust(self, labels: PseudoLabels, least_sum: Tensor) -> BoxTrust:
        """How far the student is to believe the pseudo-boxes.

        Args:
            labels: From ``label``.
            least_sum: What its losses are divided by at least.
        """
        exact = labels.is_exact.to(labels.scores.dtype)
        if self.scores_as == "targets":  # which the box losses are weighed by, too
            return BoxTrust(targets=labels.scores, box=exact, least_sum=least_sum)
        weights = labels.scores
        return BoxTrust(cls=weights, box=weights * exact, least_sum=least_sum)


def clip(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Boxes (K, 4), xyxy in px, without what lies outside height and width."""
    height, width = shape
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height] * 2))
