"""False alarms: detections where there is nothing."""

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class BackgroundFPMetric(BaseMetric):
    """False positives per image at a score threshold.

    A detection is a false positive when it matches no box of its class with an IoU of
    ``iou_thr`` that a higher scored one has not taken. It is a *background* false
    positive when its IoU with every box, of any class, is below ``bg_iou_thr`` (the
    definition of `TIDE <https://arxiv.org/abs/2008.08115>`_). Detections mostly inside
    an ignored box do not count. Ground truth is read from the data samples, so the test
    pipeline must have ``LoadAnnotations``, after any resize, as in the stock recipes:
    predictions are in the coordinates of the original image.

    Reports ``fp_per_image``, ``bg_fp_per_image`` and ``fp_per_empty_image``, the last
    over the images without any object (nan when there is none).

    Args:
        score_thr: Detections below this score do not count.
        iou_thr: IoU from which a detection matches a box.
        bg_iou_thr: IoU below which a detection is on background.
        collect_device: ``'cpu'`` or ``'gpu'``.
        prefix: Prefix of the reported names.

    Raises:
        ValueError: ``0 <= bg_iou_thr <= iou_thr <= 1`` does not hold.
    """

    default_prefix = "background"

    def __init__(
        self,
        score_thr: float = 0.25,
        iou_thr: float = 0.5,
        bg_iou_thr: float = 0.1,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not 0 <= bg_iou_thr <= iou_thr <= 1:
            raise ValueError(
                "0 <= bg_iou_thr <= iou_thr <= 1 must hold, got "
                f"bg_iou_thr={bg_iou_thr} and iou_thr={iou_thr}"
            )
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self.bg_iou_thr = bg_iou_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the false positives of a batch.

        Args:
            data_batch: Not used.
            data_samples: Predictions and ground truth of the images, as dicts.

        Raises:
            ValueError: There is no ground truth in the data samples.
        """
        for sample in data_samples:
            if "bboxes" not in sample["gt_instances"]:
                raise ValueError(
                    "BackgroundFPMetric found no ground truth: the test "
                    "pipeline needs dict(type='LoadAnnotations', with_bbox=True)"
                )
            gt = {k: _to_numpy(v) for k, v in sample["gt_instances"].items()}
            pred = {k: _to_numpy(v) for k, v in sample["pred_instances"].items()}
            ignored = _to_numpy(sample["ignored_instances"]["bboxes"])
            fp, bg_fp = self._count(pred, gt, ignored)
            self.results.append((fp, bg_fp, len(gt["bboxes"]) == 0))

    def _count(self, pred: dict, gt: dict, ignored: np.ndarray) -> tuple[int, int]:
        order = np.argsort(-pred["scores"], kind="stable")
        order = order[pred["scores"][order] >= self.score_thr]
        boxes, labels = pred["bboxes"][order], pred["labels"][order]
        overlaps = bbox_overlaps(boxes, gt["bboxes"])  # (P, G)
        inside = bbox_overlaps(boxes, ignored, mode="iof")  # (P, I)
        taken = np.zeros(len(gt["bboxes"]), bool)
        fp = bg_fp = 0
        for overlap, label, iof in zip(overlaps, labels, inside, strict=True):
            free = np.where((gt["labels"] == label) & ~taken, overlap, -1)
            if free.size and free.max() >= self.iou_thr:
                taken[free.argmax()] = True
            elif not (iof > 0.5).any():
                fp += 1
                bg_fp += not overlap.size or overlap.max() < self.bg_iou_thr
        return fp, int(bg_fp)

    def compute_metrics(self, results: list[tuple[int, int, bool]]) -> dict[str, float]:
        """Average over the images.

        Args:
            results: For each image the two counts, and whether it is without objects.

        Returns:
            The reported numbers.
        """
        fp, bg_fp, empty = np.array(results, float).reshape(-1, 3).T
        return dict(
            fp_per_image=float(fp.mean()),
            bg_fp_per_image=float(bg_fp.mean()),
            fp_per_empty_image=float(fp[empty == 1].mean())
            if empty.any()
            else float("nan"),
        )


def _to_numpy(value) -> np.ndarray:
    value = getattr(value, "tensor", value)  # boxes may be mmdet's HorizontalBoxes
    return value.detach().cpu().numpy()
