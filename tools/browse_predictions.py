"""What a detector gets wrong, image by image, the worst first.

    python tools/browse_predictions.py CONFIG CHECKPOINT --out work_dirs/browse

Runs the test set and writes for each image its ground truth beside the detections, as
`001_<name>.png` and so on, sorted by the number of false alarms and missed boxes;
`overview.png` with the worst of them; and `counts.json`. Detections are matched as
BackgroundFPMetric does it, and false alarms have its kinds: on background (bg), a
second one of a box (dup), in a wrong place (loc), of a wrong class (cls), or both.
"""

import argparse
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mmcv
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mmengine.config import DictAction
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmareaaware.config_file import ConfigFileError, read_config
from mmareaaware.evaluation import IGNORED, KINDS, TRUE_POSITIVE, match, read_sample
from mmareaaware.visualization import COLOURS, draw_box, fonts_for, show_image

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
DARK = "#222222"  # ground of the pictures
TITLE = dict(loc="left", color="white", fontsize=10)
DPI = 100
LONG_SIDE = 1000  # px: smaller images are magnified
PANEL_WIDTH = 600  # px, at least: room for the text
HEADER = FOOTER = 30  # px
GAP = 10  # px
OVERVIEW = (4, 3)  # rows and columns
TILE_WIDTH = 640  # px
ROWS_OF_TABLE = 20


@dataclass
class Matched:
    """An image, its ground truth, and the detections from a score on.

    Args:
        path: Of the image.
        gt: ``bboxes`` (G, 4) and ``labels`` (G,).
        ignored: Ignored boxes, (I, 4).
        pred: ``bboxes`` (P, 4), ``labels`` and ``scores`` (P,).
        kinds: What the detections are, (P,), see :func:`mmareaaware.evaluation.match`.
        found: Which boxes are found, (G,).
    """

    path: str
    gt: dict
    ignored: np.ndarray
    pred: dict
    kinds: np.ndarray
    found: np.ndarray

    @classmethod
    def from_sample(cls, sample: dict, score_thr: float) -> "Matched":
        pred, gt, ignored = read_sample(sample)
        counts = pred["scores"] >= score_thr
        pred = {key: value[counts] for key, value in pred.items()}
        kinds, boxes = match(pred, gt, ignored)
        found = np.isin(np.arange(len(gt["bboxes"])), boxes)
        return cls(sample["img_path"], gt, ignored, pred, kinds, found)

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
        self.results += [Matched.from_sample(s, self.score_thr) for s in data_samples]

    def compute_metrics(self, results: list[Matched]) -> dict[str, int]:
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


def draw(image: Matched, classes: Sequence[str]) -> Figure:
    """Ground truth beside detections, a small image a whole number of times larger."""
    pixels = mmcv.imread(image.path, channel_order="rgb")
    scale = math.ceil(LONG_SIDE / max(pixels.shape[:2]))
    height, width = (side * scale for side in pixels.shape[:2])
    panel = max(width, PANEL_WIDTH)
    size = np.array((2 * panel + 3 * GAP, HEADER + height + FOOTER))
    figure = plt.figure(figsize=size / DPI, dpi=DPI, facecolor=DARK)
    lower_left = np.array([(GAP, FOOTER), (panel + 2 * GAP, FOOTER)]) / size
    truth, detections = (
        figure.add_axes((*corner, *((width, height) / size))) for corner in lower_left
    )
    for axis in (truth, detections):
        show_image(axis, pixels, interpolation="nearest")
    for box in image.ignored:
        draw_box(truth, box, **IGNORED_BOX)
    for box in image.gt["bboxes"][image.found]:
        draw_box(truth, box, **CORRECT)
    draw_missed(truth, image, classes)
    draw_detections(detections, image, classes)
    counts = image.counts
    truth.set_title(
        f"{Path(image.path).name}: {counts['missed']} of {counts['boxes']} boxes "
        "missed",
        **TITLE,
    )
    kinds = [f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]]
    detections.set_title(
        f"{counts['correct']} correct detections, {counts['false_alarms']} false "
        f"alarms{': ' * bool(kinds)}{', '.join(kinds)}",
        **TITLE,
    )
    add_legend(figure, "lower center")
    return figure


def draw_overview(images: list[Matched]) -> Figure:
    """The first images on one sheet, missed boxes and detections in one."""
    rows, columns = OVERVIEW
    pixels = [
        mmcv.imread(image.path, channel_order="rgb")
        for image in images[: rows * columns]
    ]
    rows = -(-len(pixels) // columns)
    tile_height = TILE_WIDTH * max(p.shape[0] / p.shape[1] for p in pixels)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(columns * TILE_WIDTH / DPI, rows * (tile_height + HEADER) / DPI),
        dpi=DPI,
        facecolor=DARK,
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for rank, axis, image, shown in zip(
        range(1, len(pixels) + 1), axes.flat, images, pixels, strict=False
    ):
        show_image(axis, shown)
        draw_missed(axis, image)
        draw_detections(axis, image)
        counts = image.counts
        axis.set_title(
            f"{rank}. {Path(image.path).name}: {counts['false_alarms']} false alarms, "
            f"{counts['missed']} of {counts['boxes']} missed",
            **TITLE,
        )
    add_legend(figure, "outside lower center")
    return figure


def add_legend(figure: Figure, loc: str) -> None:
    """Explain the boxes below the picture."""
    figure.legend(
        handles=[Line2D([], [], label=k, **style) for k, style in LEGEND.items()],
        loc=loc,
        ncols=len(LEGEND),
        frameon=False,
        labelcolor="white",
        fontsize=9,
    )


def drawable(classes: Sequence[str]) -> list[str]:
    """The names of the classes, where there are fonts for them, or else numbers."""
    families, missing = fonts_for("".join(classes))
    plt.rcParams["font.family"] = families
    without = {i: name for i, name in enumerate(classes) if set(name) & missing}
    if without:
        warnings.warn(
            f"no installed font has the letters of {', '.join(without.values())}: the "
            "pictures show the numbers of these classes. Noto Sans has most scripts "
            "(fonts-noto-cjk, fonts-noto-core on Debian and Ubuntu)",
            stacklevel=2,
        )
    return [f"class {i}" if i in without else name for i, name in enumerate(classes)]


def write(
    images: list[Matched], classes: Sequence[str], out: Path, num: int | None = None
) -> list[dict]:
    """Write the pictures and the counts, the images with the most errors first.

    Args:
        images: Of the test set.
        classes: Names by label.
        out: Folder; is made.
        num: So many pictures at most, of the worst images.

    Returns:
        For each image its path and counts, as in ``counts.json``.
    """
    images = sorted(images, key=lambda image: (-image.errors, image.path))
    counts = [dict(image=image.path, **image.counts) for image in images]
    out.mkdir(parents=True, exist_ok=True)
    (out / "counts.json").write_text(json.dumps(counts, indent=1))
    _save(draw_overview(images), out / "overview.png")
    digits = max(3, len(str(len(images))))
    for rank, image in enumerate(track(images[:num], "pictures"), 1):
        name = f"{rank:0{digits}d}_{Path(image.path).stem}.png"
        _save(draw(image, classes), out / name)
    return counts


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)


def print_table(counts: list[dict], score_thr: float) -> None:
    """The worst images, and the sum of all."""
    names = [name for name in counts[0] if name != "image"]
    total = dict(image=f"all {len(counts)} images")
    total |= {name: sum(row[name] for row in counts) for name in names}
    table = Table(title=f"detections with a score from {score_thr:g}, worst images")
    table.add_column("image")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in counts[:ROWS_OF_TABLE]:
        table.add_row(Path(row["image"]).name, *(str(row[name]) for name in names))
    table.add_section()
    table.add_row(*map(str, total.values()))
    Console(width=max(100, Console().width)).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/browse"))
    parser.add_argument(
        "--score-thr", type=float, default=0.25, help="of detections that count"
    )
    parser.add_argument("--num", type=int, help="draw so many of the worst images only")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    if not args.checkpoint.is_file():
        parser.error(f"there is no checkpoint {args.checkpoint}")
    if args.num is not None and args.num < 1:
        parser.error(f"--num must be at least 1, got {args.num}")
    if any(args.out.glob("*.png")):
        parser.error(f"--out {args.out} has pictures already, of other ranks perhaps")
    return args


def main() -> None:
    args = parse_args()
    try:
        cfg = read_config(args.config, args.cfg_options)
    except ConfigFileError as error:
        raise SystemExit(f"error: {error}") from None
    cfg.load_from = str(args.checkpoint)
    cfg.work_dir = str(args.out / "log")
    cfg.test_evaluator = dict(type="MatchedImages", score_thr=args.score_thr)
    runner = Runner.from_cfg(cfg)
    runner.test()
    (metric,) = runner.test_evaluator.metrics
    classes = drawable(metric.dataset_meta["classes"])
    print_table(write(metric.images, classes, args.out, args.num), args.score_thr)
    print(f"pictures: {args.out}")


if __name__ == "__main__":
    main()
