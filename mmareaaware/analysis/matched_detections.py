"""The detections of a test set, by score and size, and which of them are right."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..evaluation import IGNORED, TRUE_POSITIVE, match, read_sample

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
SMALL = 32**2  # px² of the image: COCO's small objects are below


@dataclass
class Detections:
    """D detections of M images against their G boxes, at T IoUs."""

    image: np.ndarray  # (D,), which of the images
    label: np.ndarray  # (D,)
    score: np.ndarray  # (D,)
    area: np.ndarray  # (D,), in px² of the network input
    is_true: np.ndarray  # (D, T)
    counts: np.ndarray  # (D, T): not inside an ignored box
    counts_small: np.ndarray  # (D, T): in the AP of small boxes
    box_image: np.ndarray  # (G,)
    box_label: np.ndarray  # (G,)
    box_is_small: np.ndarray  # (G,)

    @classmethod
    def join(cls, parts: Sequence["Detections"]) -> "Detections":
        """Those of several sets of images."""
        return cls(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            )
        )

    @classmethod
    def from_sample(cls, sample: dict, image: int) -> "Detections":
        """Of a data sample that went through a test, as a dict.

        Raises:
            ValueError: See `read_sample`.
        """
        pred, gt, ignored = read_sample(sample)
        areas, gt_areas = _areas(pred["bboxes"]), _areas(gt["bboxes"])
        matches = [match(pred, gt, ignored, iou) for iou in IOUS]
        kinds, boxes = (np.stack(parts, 1) for parts in zip(*matches, strict=True))
        is_true, counts = kinds == TRUE_POSITIVE, kinds != IGNORED
        gt_is_small = gt_areas < SMALL
        # One more, for detections that matched no box
        of_small = np.append(gt_is_small, False)[boxes]
        is_small = np.where(is_true, of_small, (areas < SMALL)[:, None])
        return cls(
            np.full(len(areas), image),
            pred["labels"],
            pred["scores"].astype(float),
            areas * np.prod(sample["scale_factor"]),
            is_true,
            counts,
            counts & is_small,
            np.full(len(gt_areas), image),
            gt["labels"],
            gt_is_small,
        )

    def of_images(self, images: np.ndarray) -> "Detections":
        """Those of some images, whose numbers they keep."""
        rows, boxes = np.isin(self.image, images), np.isin(self.box_image, images)
        return Detections(
            *(
                getattr(self, f.name)[boxes if f.name.startswith("box_") else rows]
                for f in fields(self)
            )
        )

    @property
    def logit(self) -> np.ndarray:
        """Of the scores, (D,)."""
        score = self.score.clip(1e-7, 1 - 1e-7)
        return np.log(score / (1 - score))


def mean_average_precision(
    found: Detections, rank_by: np.ndarray, small: bool = False, min_boxes: int = 1
) -> float:
    """COCO's AP, the matches being what they are.

    Args:
        found: The detections.
        rank_by: Higher comes first, (D,).
        small: Of small boxes only.
        min_boxes: The mean is over the classes with so many boxes at least.

    Returns:
        The AP in [0, 1]; nan where no class has enough boxes.
    """
    counts = found.counts_small if small else found.counts
    boxes = found.box_label[found.box_is_small] if small else found.box_label
    order = np.argsort(-rank_by, kind="stable")
    values = []
    for label, number in enumerate(np.bincount(boxes)):
        if number >= min_boxes:
            rows = order[found.label[order] == label]
            values.append(_average_precision(found.is_true[rows], counts[rows], number))
    return float(np.mean(values)) if values else float("nan")


def _average_precision(is_true: np.ndarray, counts: np.ndarray, boxes: int) -> float:
    """Of one class, the mean over the IoUs of (D, T), from the best on."""
    hits = np.cumsum(is_true & counts, 0)
    seen = np.cumsum(counts, 0)
    precision = hits / np.maximum(seen, 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = hits / boxes
    sums = 0.0
    for column in range(is_true.shape[1]):
        at = np.searchsorted(recall[:, column], RECALLS, side="left")
        sums += precision[at[at < len(recall)], column].sum()
    return sums / (len(RECALLS) * is_true.shape[1])


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)


@METRICS.register_module()
class MatchedDetections(BaseMetric):
    """Keeps the detections of a test with what they matched, in ``found``."""

    default_prefix = "matched"

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Match the detections of a batch."""
        for sample in data_samples:
            self.results.append(Detections.from_sample(sample, len(self.results)))

    def compute_metrics(self, results: list[Detections]) -> dict[str, int]:
        """Join the images; how many detections and boxes there are."""
        self.found = Detections.join(results)
        return dict(detections=len(self.found.score), boxes=len(self.found.box_label))
