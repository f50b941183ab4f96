"""Images with what was found, what was missed, and what is a false alarm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..evaluation import IGNORED, KINDS, TRUE_POSITIVE, match, read_sample
from .boxes import COLOURS, draw_box

CORRECT = dict(color=COLOURS["sky_blue"])
FALSE_ALARM = dict(color=COLOURS["orange"], linewidth=1.4)
MISSED = dict(color=COLOURS["yellow"], linewidth=1.4, linestyle="--")
IGNORED_BOX = dict(color="white", linestyle=":")
NO_ERROR = {TRUE_POSITIVE: CORRECT, IGNORED: IGNORED_BOX}
LEGEND = {
    "found": CORRECT,
    "missed": MISSED,
    "false alarm: on background (bg), second one of a box (dup), in a wrong place "
    "(loc), of a wrong class (cls), or both": FALSE_ALARM,
    "ignored": IGNORED_BOX,
}


@dataclass
class Matched:
    """An image, its ground truth, and the detections from a score on.

    Args:
        path: Of the image.
        gt: ``bboxes`` (G, 4) and ``labels`` (G,).
        ignored: Ignored boxes, (I, 4).
        pred: ``bboxes`` (P, 4), ``labels`` and ``scores`` (P,).
        kinds: What the detections are, (P,), see ``mmareaaware.evaluation.match``.
        boxes: The box that each matched, or -1, (P,).
    """

    path: str
    gt: dict
    ignored: np.ndarray
    pred: dict
    kinds: np.ndarray
    boxes: np.ndarray

    @classmethod
    def from_sample(cls, sample: dict) -> "Matched":
        """Of a data sample that went through a test, as a dict."""
        pred, gt, ignored = read_sample(sample)
        return cls(sample["img_path"], gt, ignored, pred, *match(pred, gt, ignored))

    def above(self, score_thr: float) -> "Matched":
        """The same without the detections below a score."""
        counts = self.pred["scores"] >= score_thr
        pred = {key: value[counts] for key, value in self.pred.items()}
        return replace(
            self, pred=pred, kinds=self.kinds[counts], boxes=self.boxes[counts]
        )

    @property
    def found(self) -> np.ndarray:
        """Which boxes are found, (G,)."""
        return np.isin(np.arange(len(self.gt["bboxes"])), self.boxes)

    @property
    def counts(self) -> dict[str, int]:
        """Boxes, detections by what they are, and boxes that are missed."""
        kinds = np.bincount(self.kinds, minlength=IGNORED + 1).tolist()
        return dict(
            boxes=len(self.found),
            correct=kinds[TRUE_POSITIVE],
            missed=int((~self.found).sum()),
            false_alarms=sum(kinds[: len(KINDS)]),
            **dict(zip(KINDS, kinds, strict=False)),
        )

    @property
    def errors(self) -> int:
        """False alarms and missed boxes."""
        return self.counts["false_alarms"] + self.counts["missed"]


@METRICS.register_module()
class MatchedImages(BaseMetric):
    """Keeps what each image of a test has become, in ``images``.

    Args:
        score_thr: Detections below this score do not count.
    """

    default_prefix = "all images"

    def __init__(self, score_thr: float) -> None:
        super().__init__()
        self.score_thr = score_thr

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Match the detections of a batch with its boxes, and keep them."""
        images = map(Matched.from_sample, data_samples)
        self.results += [image.above(self.score_thr) for image in images]

    def compute_metrics(self, results: list[Matched]) -> dict[str, int]:
        """Keep the images of all ranks; returns how many boxes there are of a kind."""
        self.images = results
        return {
            key: sum(image.counts[key] for image in results)
            for key in ("boxes", "correct", "missed", "false_alarms")
        }


def draw_missed(
    axis: Axes, image: Matched, classes: Sequence[str] | None = None
) -> None:
    """Draw the missed boxes, with labels if the names of the classes are given."""
    missed = ~image.found
    for box, label in zip(
        image.gt["bboxes"][missed], image.gt["labels"][missed], strict=True
    ):
        draw_box(axis, box, label=classes[label] if classes else "", **MISSED)


def draw_detections(
    axis: Axes, image: Matched, classes: Sequence[str] | None = None
) -> None:
    """Draw the detections, false alarms on top, with labels as above."""
    for i in np.argsort(-image.kinds, kind="stable"):
        kind, label = image.kinds[i], ""
        if classes and kind != IGNORED:
            label = f"{image.pred['scores'][i]:.0%}"
        if classes and kind < len(KINDS):
            label = f"{KINDS[kind]} {classes[image.pred['labels'][i]]} {label}"
        style = NO_ERROR.get(kind, FALSE_ALARM)
        draw_box(axis, image.pred["bboxes"][i], label=label, **style)


def add_legend(
    figure: FigureBase, loc: str, entries: Mapping[str, dict] = LEGEND
) -> None:
    """Explain the boxes below the picture.

    Args:
        figure: Has the boxes.
        loc: Place, as matplotlib names it.
        entries: Styles of boxes by what they mean.
    """
    figure.legend(
        handles=[Line2D([], [], label=k, **style) for k, style in entries.items()],
        loc=loc,
        ncols=len(entries),
        frameon=False,
        labelcolor="white",
        fontsize=9,
    )
