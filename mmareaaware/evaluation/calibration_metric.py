"""Whether scores are what they say: by the size of what is detected."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from terminaltables import AsciiTable

from .matching import IGNORED, TRUE_POSITIVE, match, read_sample
from .size_bins import bins_and_edges


@METRICS.register_module()
class CalibrationMetric(BaseMetric):
    r"""How far scores are from precision, for all detections and by their size.

    Of detections with a score of 0.7, seven in ten should be right. The expected
    calibration error sorts the $N$ detections into bins $b$ of equal width by their
    score, and takes the mean distance of score and precision in a bin
    ([Küppers et al., 2020](https://arxiv.org/abs/2004.13546), without the position):

    $$\mathrm{ECE} = \sum_b \frac{n_b}{N} \,
        \left| \overline{\text{score}}_b - \text{precision}_b \right|$$

    The gap has a sign, and no bins: mean score − precision. Above 0 the network is
    surer than it should be. Reported are ``ece`` and ``gap``, and both with the name of
    a bin of sizes behind them, ``ece_s``; nan where there is no detection. Two networks
    that rank alike have the same AP whatever their calibration: it says which score to
    take as a threshold, and whether one threshold is right for all sizes.

    A size is the root of the area of the detected box, in pixels of the original image.
    Right and wrong are those of ``BackgroundFPMetric``, and like it this reads the
    ground truth from the data samples; detections mostly inside an ignored box do not
    count.

    Args:
        size_bins: ``'coco'``, ``'aitod'`` or edges, as of ``SizeBinnedCocoMetric``.
        score_thr: Detections below do not count. There are thousands of them near 0,
            which would make every network look calibrated.
        num_bins: Bins of equal width that scores from 0 to 1 are sorted into.
        iou_thr: IoU from which a detection matches a box.
        collect_device: ``'cpu'`` or ``'gpu'``.
        prefix: Prefix of the reported names.

    Raises:
        ValueError: Bins of sizes that are unknown or do not increase, ``num_bins``
            below 1, or ``score_thr`` or ``iou_thr`` not between 0 and 1.
    """

    default_prefix = "calibration"

    def __init__(
        self,
        size_bins: str | Sequence[float] = "coco",
        score_thr: float = 0.05,
        num_bins: int = 10,
        iou_thr: float = 0.5,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}")
        for name, value in dict(score_thr=score_thr, iou_thr=iou_thr).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value}")
        self.bins, self.edges = bins_and_edges(size_bins, relative=False)
        self.score_thr = score_thr
        self.num_bins = num_bins
        self.iou_thr = iou_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Match the detections of a batch.

        Args:
            data_batch: Not used.
            data_samples: Predictions and ground truth of the images, as dicts.

        Raises:
            ValueError: There is no ground truth in the data samples.
        """
        for sample in data_samples:
            pred, gt, ignored = read_sample(sample)
            kinds, _ = match(pred, gt, ignored, self.iou_thr, min(0.1, self.iou_thr))
            counts = (kinds != IGNORED) & (pred["scores"] >= self.score_thr)
            width, height = (pred["bboxes"][:, 2:] - pred["bboxes"][:, :2]).T
            sides = np.sqrt(np.clip(width, 0, None) * np.clip(height, 0, None))
            detections = (pred["scores"], kinds == TRUE_POSITIVE, sides)
            self.results.append(tuple(values[counts] for values in detections))

    def compute_metrics(
        self, results: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> dict[str, float]:
        """Compare scores and precision over all images.

        Args:
            results: For each image the scores of its detections, whether they are
                right, and their sides.

        Returns:
            The reported numbers.
        """
        scores, right, sides = map(np.concatenate, zip(*results, strict=True))
        scores = scores.astype(np.float64)
        size = np.searchsorted(self.edges, sides, side="right")
        groups = {"": np.full(len(scores), True)}
        groups |= {f"_{name}": size == i for i, name in enumerate(self.bins)}
        rows, metrics = [], {}
        for suffix, of_size in groups.items():
            error = self._error(scores[of_size], right[of_size])
            gap = _mean(scores[of_size]) - _mean(right[of_size])
            metrics |= {f"ece{suffix}": error, f"gap{suffix}": gap}
            name = suffix.removeprefix("_") or "all"
            rows.append([name, of_size.sum(), f"{error:.3f}", f"{gap:+.3f}"])
        header = ["size", "detections", "error", "score - precision"]
        table = AsciiTable([header, *rows]).table
        MMLogger.get_current_instance().info(f"calibration\n{table}")
        return metrics

    def _error(self, scores: np.ndarray, right: np.ndarray) -> float:
        """The expected calibration error, or nan of no detection."""
        if not len(scores):
            return float("nan")
        index = np.minimum(scores * self.num_bins, self.num_bins - 1).astype(int)
        excess = np.bincount(index, scores - right)  # of score, summed in each bin
        return float(np.abs(excess).sum() / len(scores))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
