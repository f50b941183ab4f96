"""False alarms: detections where there is nothing, or not what they say."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from terminaltables import AsciiTable

from .matching import IGNORED, KINDS, TRUE_POSITIVE, match, read_sample

NAN = float("nan")

# For save_best without a rule: of which numbers more is better, and of which less.
CheckpointHook._default_greater_keys.append("best_f1")
CheckpointHook._default_less_keys.append("fp_per_")


@METRICS.register_module()
class BackgroundFPMetric(BaseMetric):
    """False positives per image by their kind, at score thresholds and at a recall.

    A detection is a false positive when it matches no box of its class with an IoU of
    ``iou_thr`` that a higher scored one has not taken. Its kind is the first that fits
    of those of [TIDE](https://arxiv.org/abs/2008.08115), here for IoUs 0.1 and 0.5:

    | name | what |
    | --- | --- |
    | ``loc`` | a box of its class is met with an IoU from 0.1 to 0.5 |
    | ``cls`` | a box of another class is met with an IoU of 0.5 or more |
    | ``dup`` | a box of its class is met, and taken |
    | ``bg`` | background: no box, of any class, is met with an IoU of 0.1 |
    | ``both`` | a box of another class is met with an IoU from 0.1 to 0.5 |

    Detections mostly inside an ignored box do not count. Ground truth is read from the
    data samples, so the test pipeline must have mmdet's ``LoadAnnotations`` (that of
    MMYOLO drops the ignored boxes), after any resize, as in the stock recipes:
    predictions are in the coordinates of the original image.

    The end of a name says where it holds: ``bg_fp_per_image_score0.25`` at a score
    threshold, ``bg_fp_per_image_recall0.5`` at the highest threshold that finds half of
    the boxes (of all classes together). Compare runs at equal recall: at equal score,
    the one that gives lower scores to everything has fewer false positives. There are

    - at each score threshold and each recall ``fp_per_image`` and its five parts,
      ``bg_fp_per_image`` and so on; ``fp_per_empty_image``: over the images without
      objects, where all is background; ``fp_per_filled_image``: over the others;
    - at each recall ``score_thr``, which is the threshold;
    - ``best_f1``, and ``precision_best_f1``, ``recall_best_f1``, ``score_thr_best_f1``.

    What does not exist is nan: a recall that is never reached, images without objects.
    The log has every number at every threshold, as a table.

    ``CheckpointHook(save_best=...)`` takes any of the numbers, and ``best_f1`` as
    ``'auto'`` where this metric is the first: more is better of ``best_f1``, less of
    false positives.

    Args:
        score_thrs: Detections below such a score do not count.
        recalls: Parts of the boxes that are to be found.
        iou_thr: IoU from which a detection matches a box.
        bg_iou_thr: IoU below which a detection is on background.
        collect_device: ``'cpu'`` or ``'gpu'``.
        prefix: Prefix of the reported names.

    Raises:
        ValueError: ``0 < bg_iou_thr <= iou_thr <= 1`` does not hold, or a score
            threshold or a recall is not between 0 and 1.
    """

    default_prefix = "background"

    def __init__(
        self,
        score_thrs: Sequence[float] = (0.25, 0.5),
        recalls: Sequence[float] = (0.5,),
        iou_thr: float = 0.5,
        bg_iou_thr: float = 0.1,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not all(0 <= thr <= 1 for thr in score_thrs):
            raise ValueError(f"score_thrs must be between 0 and 1, got {score_thrs}")
        if not all(0 < recall <= 1 for recall in recalls):
            raise ValueError(f"recalls must be above 0 and up to 1, got {recalls}")
        if not 0 < bg_iou_thr <= iou_thr <= 1:
            raise ValueError(
                "0 < bg_iou_thr <= iou_thr <= 1 must hold, got "
                f"bg_iou_thr={bg_iou_thr} and iou_thr={iou_thr}"
            )
        self.score_thrs = score_thrs
        self.recalls = recalls
        self.iou_thr = iou_thr
        self.bg_iou_thr = bg_iou_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Match the detections of a batch, whatever their score.

        Args:
            data_batch: Not used.
            data_samples: Predictions and ground truth of the images, as dicts.

        Raises:
            ValueError: There is no ground truth in the data samples.
        """
        for sample in data_samples:
            pred, gt, ignored = read_sample(sample)
            kinds, _ = match(pred, gt, ignored, self.iou_thr, self.bg_iou_thr)
            counts = kinds != IGNORED
            result = (pred["scores"][counts], kinds[counts], len(gt["bboxes"]))
            self.results.append(result)

    def compute_metrics(
        self, results: list[tuple[np.ndarray, np.ndarray, int]]
    ) -> dict[str, float]:
        """Count over all images at each threshold.

        Args:
            results: For each image scores and kinds of its detections, and the number
                of its boxes.

        Returns:
            The reported numbers.
        """
        counts = _Counts(results)
        at_score = {f"score{thr:g}": counts.at(thr) for thr in self.score_thrs}
        at_recall = {
            f"recall{recall:g}": counts.at(counts.threshold_of_recall(recall))
            for recall in self.recalls
        }
        best = counts.at(counts.threshold_of_best_f1())

        points = at_score | at_recall | dict(best_f1=best)
        rows = [[key, *(f"{v[key]:.3f}" for v in points.values())] for key in best]
        table = AsciiTable([["", *points], *rows])
        MMLogger.get_current_instance().info(f"false positives\n{table.table}")
        return (
            dict(best_f1=best["f1"])  # first: the number of save_best='auto'
            | _suffixed(at_score | at_recall, *(key for key in best if "fp" in key))
            | _suffixed(at_recall, "score_thr")
            | _suffixed(dict(best_f1=best), "score_thr", "precision", "recall")
        )


class _Counts:
    """Counts the detections of all images at any score threshold.

    Args:
        results: As in ``BackgroundFPMetric.compute_metrics``.
    """

    def __init__(self, results: list[tuple[np.ndarray, np.ndarray, int]]) -> None:
        scores, kinds, num_boxes = zip(*results, strict=True)
        empty = np.array(num_boxes) == 0  # (images,)
        on_empty = np.repeat(empty, [len(s) for s in scores])  # (D,)
        order = np.argsort(-np.concatenate(scores), kind="stable")
        self.scores = np.concatenate(scores)[order]  # (D,)
        self.kinds = np.concatenate(kinds)[order]  # (D,)
        self.on_empty = on_empty[order]  # (D,)
        self.num_true = np.cumsum(self.kinds == TRUE_POSITIVE)  # (D,)
        self.num_boxes = sum(num_boxes)
        self.num_images = len(empty)
        self.num_empty = empty.sum()

    def at(self, threshold: float) -> dict[str, float]:
        """All numbers for the detections from a score on; nan if that is nan."""
        above = self.scores >= threshold
        *false, true = np.bincount(self.kinds[above], minlength=len(KINDS) + 1)
        values = dict(
            score_thr=threshold,
            precision=_ratio(true, above.sum()),
            recall=_ratio(true, self.num_boxes),
            f1=_ratio(2 * true, above.sum() + self.num_boxes),
            fp_per_image=_ratio(sum(false), self.num_images),
        )
        for kind, number in zip(KINDS, false, strict=True):
            values[f"{kind}_fp_per_image"] = _ratio(number, self.num_images)
        on_empty = (above & self.on_empty).sum()
        num_filled = self.num_images - self.num_empty
        values["fp_per_empty_image"] = _ratio(on_empty, self.num_empty)
        values["fp_per_filled_image"] = _ratio(sum(false) - on_empty, num_filled)
        return dict.fromkeys(values, NAN) if np.isnan(threshold) else values

    def threshold_of_recall(self, recall: float) -> float:
        """The highest score at which so many of the boxes are found, or nan."""
        (reached,) = np.nonzero(self.num_true / max(self.num_boxes, 1) >= recall)
        return float(self.scores[reached[0]]) if reached.size else NAN

    def threshold_of_best_f1(self) -> float:
        """The highest score of those with the best F1, or nan."""
        if not self.num_boxes or not self.scores.size:
            return NAN
        f1 = 2 * self.num_true / (np.arange(1, len(self.scores) + 1) + self.num_boxes)
        f1[:-1][self.scores[:-1] == self.scores[1:]] = 0  # equal scores go together
        return float(self.scores[f1.argmax()])


def _suffixed(points: dict[str, dict[str, float]], *keys: str) -> dict[str, float]:
    return {f"{k}_{name}": values[k] for name, values in points.items() for k in keys}


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else NAN
