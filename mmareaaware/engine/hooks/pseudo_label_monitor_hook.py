"""Logs what a teacher tells its student, and how right it is, where that is known."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.evaluation.functional import bbox_overlaps
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.structures import InstanceData
from torch import Tensor

from ...evaluation.matching import TRUE_POSITIVE, match
from .semi_phases import SemiPhases, unwrap

# Of one iteration, over all ranks, before the number of pseudo-boxes of each class
SUMS = ("images", "uncertain", "score", "judged", "true", "correct", "iou")


@HOOKS.register_module()
class PseudoLabelMonitorHook(Hook):
    """Looks at the pseudo-labels of one iteration in ``interval``.

    Logs, over all ranks:

    - ``pseudo_boxes`` and ``uncertain_boxes`` per image, ``pseudo_score``, the mean
      score of the former;
    - ``pseudo_threshold``, the mean upper threshold of the classes; and, with up to
      ``max_classes`` classes, ``pseudo_boxes_NAME`` and ``pseudo_threshold_NAME``;
    - where the data samples of the weak views have boxes, which the training never
      looks at: ``pseudo_precision``, ``pseudo_recall`` at an IoU of 0.5, and
      ``pseudo_iou``, the mean IoU of the pseudo-boxes that are right. Without boxes
      or true ones there is no such value. An unlabelled set without annotations would
      look like a set of empty images: give ``has_truth=False`` there.

    Nothing is logged in the burn-in, in which there is no pseudo-label.

    Args:
        interval: Iterations from one look to the next.
        max_classes: With more classes, none is logged by itself.
        has_truth: Whether to compare with the boxes of the data samples.

    Raises:
        ValueError: ``interval`` is below 1. Before training, when the model is no
            ``SemiYOLODetector``.
    """

    def __init__(
        self, interval: int = 20, max_classes: int = 20, has_truth: bool = True
    ) -> None:
        if not interval >= 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.interval = interval
        self.max_classes = max_classes
        self.has_truth = has_truth

    def before_train(self, runner) -> None:
        """See that there are pseudo-labels to look at, and how classes are called."""
        SemiPhases.of(runner)
        num_classes = len(unwrap(runner.model).pseudo_labeller.thresholds.high)
        metainfo = getattr(runner.train_dataloader.dataset, "metainfo", {})
        names = list(metainfo.get("classes") or ())
        if len(names) != num_classes:
            names = [str(label) for label in range(num_classes)]
        self._classes = names

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Look, add up over the ranks, and log."""
        model = unwrap(runner.model)
        labels = model.last_pseudo_labels  # on all ranks, or on none
        if labels is None or not self.every_n_train_iters(runner, self.interval):
            return
        sums = torch.zeros(len(SUMS) + len(self._classes), dtype=torch.float64)
        samples = data_batch["data_samples"]["unsup_teacher"] if data_batch else []
        truths = [sample.gt_instances for sample in samples if sample is not None]
        if not self.has_truth or len(truths) != len(labels.detections):
            truths = [None] * len(labels.detections)
        views = zip(labels.detections, labels.is_pseudo, truths, strict=True)
        for found, is_pseudo, truth in views:
            sums += self._count(found[is_pseudo], int((~is_pseudo).sum()), truth)
        sums = sums.to(labels.boxes.device)
        all_reduce(sums)
        high = model.pseudo_labeller.thresholds.high
        for name, value in self._values(sums.tolist(), high).items():
            runner.message_hub.update_scalar(f"train/{name}", value)

    def _count(
        self, pseudo: InstanceData, num_uncertain: int, truth: InstanceData | None
    ) -> Tensor:
        """The sums of one image."""
        judged: tuple[float, ...] = (0.0,) * 4
        if truth is not None and "bboxes" in truth:
            judged = judge(pseudo, truth)
        sums = [1, num_uncertain, float(pseudo.scores.sum()), *judged]
        per_class = torch.bincount(pseudo.labels.cpu(), minlength=len(self._classes))
        return torch.cat([torch.tensor(sums).double(), per_class.double()])

    def _values(self, sums: Sequence[float], high: Tensor) -> dict[str, float]:
        """What is logged; what there is nothing of is left out."""
        by_name = dict(zip(SUMS, sums[: len(SUMS)], strict=True))
        per_class = sums[len(SUMS) :]
        images, number = by_name["images"], sum(per_class)
        values = dict(
            pseudo_boxes=number / images,
            uncertain_boxes=by_name["uncertain"] / images,
            pseudo_threshold=float(high.mean()),
        )
        if number:
            values["pseudo_score"] = by_name["score"] / number
        for part, whole in (("precision", "judged"), ("recall", "true")):
            if by_name[whole]:
                values[f"pseudo_{part}"] = by_name["correct"] / by_name[whole]
        if by_name["correct"]:
            values["pseudo_iou"] = by_name["iou"] / by_name["correct"]
        if len(self._classes) <= self.max_classes:
            rows = zip(self._classes, per_class, high.tolist(), strict=True)
            for name, boxes, threshold in rows:
                values[f"pseudo_boxes_{name}"] = boxes / images
                values[f"pseudo_threshold_{name}"] = threshold
        return values


def judge(pseudo: InstanceData, truth: InstanceData) -> tuple[float, ...]:
    """Pseudo-boxes of an image against its true boxes.

    Args:
        pseudo: ``bboxes`` (K, 4), ``scores`` and ``labels`` (K,).
        truth: ``bboxes`` (G, 4) and ``labels`` (G,).

    Returns:
        The number of pseudo-boxes and of true boxes, how many match at an IoU of 0.5,
        and the sum of the IoU of those.
    """
    keys = ("bboxes", "labels", "scores")
    pred = {key: pseudo[key].detach().cpu().numpy() for key in keys}
    gt = {key: truth[key].cpu().numpy() for key in keys[:2]}
    kinds, matched = match(pred, gt, np.zeros((0, 4), dtype=np.float32))
    right = kinds == TRUE_POSITIVE
    overlaps = bbox_overlaps(pred["bboxes"], gt["bboxes"])  # (K, G)
    iou = overlaps[right, matched[right]].sum()
    return float(len(kinds)), float(len(gt["labels"])), float(right.sum()), float(iou)
