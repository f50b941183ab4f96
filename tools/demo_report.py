"""Ends the demo: a table of two trainings, what each finds, and the losses.

    python tools/demo_report.py work_dirs/demo/without work_dirs/demo/with

These are the work dirs of trainings without and with the penalty, the first part of
which they may share. Writes without_and_with.png and losses.png to the report/ of the
second.
"""

import argparse
import contextlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mmcv
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner, find_latest_checkpoint
from rich.console import Console
from rich.table import Table

from mmareaaware.evaluation import KINDS
from mmareaaware.visualization import (
    COLOURS,
    CORRECT,
    FALSE_ALARM,
    MISSED,
    Matched,
    add_legend,
    draw_box,
    draw_detections,
    draw_missed,
    show_image,
)
from mmareaaware.whole_file import whole_file

TITLES = ("without the penalty", "with the penalty")
NUM_PICTURES = 3
DARK = "#222222"
ON_BACKGROUND = dict(color=COLOURS["purple"], linewidth=2.5)
LEGEND = {
    "found": CORRECT,
    "missed": MISSED,
    "false alarm: wrong class or place": FALSE_ALARM,
    "false alarm on background": ON_BACKGROUND,
}
METRICS = {
    "coco/bbox_mAP": "AP",
    "coco/bbox_mAP_50": "AP50",
    "coco/bbox_mAP_s": "AP small (< 32² px)",
    "coco/bbox_mAP_m": "AP medium",
    "coco/bbox_AR_s": "AR small",
    "background/bg_fp_per_image_score0.25": "false alarms on background / image, "
    "at score 0.25",
    "background/bg_fp_per_image_recall0.5": "… at the score that finds half of all",
    "background/best_f1": "best F1",
}
SCORE_THR = "background/score_thr_recall0.5"


@dataclass
class Training:
    """A training, tested.

    Args:
        metrics: By name.
        images: The test images, with all detections.
        scalars: What was logged, by iteration.
    """

    metrics: dict[str, float]
    images: list[Matched]
    scalars: dict[int, dict]

    @property
    def score_thr(self) -> float:
        """The score above which half of the objects are found; 0.25 where none is."""
        found_half = self.metrics[SCORE_THR]
        return 0.25 if math.isnan(found_half) else found_half


def read_training(work_dir: Path) -> Training:
    """Test the newest checkpoint of a work dir.

    Args:
        work_dir: Of the training.
    """
    (config,) = work_dir.glob("*.py")
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir / "report")
    cfg.load_from = find_latest_checkpoint(str(work_dir))
    cfg.test_evaluator.append(dict(type="MatchedImages", score_thr=0.0))
    cfg.visualizer.vis_backends = []
    cfg.log_level = "ERROR"
    runner = Runner.from_cfg(cfg)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks a lot
        metrics = runner.test()
    if "coco/bbox_mAP" not in metrics:
        raise SystemExit("no prediction on any image: train for longer")
    path = max(work_dir.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    scalars = {line["step"]: line for line in lines if "loss" in line}
    return Training(metrics, runner.test_evaluator.metrics[-1].images, scalars)


def make_table(trainings: Sequence[Training]) -> Table:
    """The metrics, a column each."""
    table = Table(title="demo: validation images, one seed")
    table.add_column("metric")
    for title in TITLES:
        table.add_column(title, justify="right")
    for key, name in METRICS.items():
        # nan: no such object in the data, or a recall that is not reached
        values = [training.metrics[key] for training in trainings]
        cells = ["undefined" if math.isnan(v) else f"{v:.3f}" for v in values]
        table.add_row(name, *cells)
    return table


def draw_pictures(trainings: Sequence[Training]) -> Figure:
    """The images with the most false alarms on background of the first training.

    Args:
        trainings: Without and with the penalty.
    """
    figure = plt.figure(figsize=(8, 6.2), layout="constrained", facecolor=DARK)
    *rows, below = figure.subfigures(3, 1, height_ratios=(12, 12, 1))
    shown = [[i.above(t.score_thr) for i in t.images] for t in trainings]
    ranks = range(len(shown[0]))
    worst = sorted(ranks, key=lambda i: -shown[0][i].counts["bg"])[:NUM_PICTURES]
    for row, title, images in zip(rows, TITLES, shown, strict=True):
        number = sum(image.counts["bg"] for image in images)
        row.suptitle(
            f"{title}: {number} false alarms on background in {len(images)} images, at "
            "the score that finds half",
            color="white",
            fontsize=10,
        )
        draw_images(row, [images[i] for i in worst])
    add_legend(below, "center", LEGEND)
    return figure


def draw_images(row: SubFigure, images: Sequence[Matched]) -> None:
    """Draw what was found, missed, and falsely found."""
    for axis, image in zip(row.subplots(1, len(images)), images, strict=True):
        show_image(axis, mmcv.imread(image.path, channel_order="rgb"))
        draw_missed(axis, image)
        draw_detections(axis, image)
        for box in image.pred["bboxes"][image.kinds == KINDS.index("bg")]:
            draw_box(axis, box, **ON_BACKGROUND)
        counts = image.counts
        axis.set_title(
            f"{counts['correct']} of {counts['boxes']} found, {counts['false_alarms']} "
            f"false alarms, {counts['bg']} on bg",
            color="white",
            fontsize=8,
        )


def draw_curves(scalars: dict[int, dict]) -> Figure:
    """The losses, and the penalty."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    draw_losses(left, scalars)
    draw_penalty(right, scalars)
    return figure


def draw_losses(axis: Axes, scalars: dict[int, dict]) -> None:
    """Draw the losses over the iterations."""
    for name in ("loss_cls", "loss_bbox", "loss_dfl", "loss_bg"):
        values = [line.get(name) or math.nan for line in scalars.values()]
        axis.plot(list(scalars), values, label=name)
    axis.set(title="losses with the penalty", xlabel="iteration", yscale="log")
    axis.legend()


def draw_penalty(axis: Axes, scalars: dict[int, dict]) -> None:
    """Draw λ_bg and the confidence of the background that it scales."""
    axes = dict(lambda_bg=axis, bg_penalty_mean=axis.twinx())
    for (name, own), colour in zip(
        axes.items(), ("tab:blue", "tab:orange"), strict=True
    ):
        steps = [step for step, line in scalars.items() if name in line]
        own.plot(steps, [scalars[step][name] for step in steps], colour)
        own.set_ylabel(name, color=colour)
        own.set_ylim(bottom=0)
    axis.set(title="λ_bg and the penalty that it scales", xlabel="iteration")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("without", type=Path, help="work dir of the one")
    parser.add_argument("with_penalty", type=Path, help="work dir of the other")
    args = parser.parse_args()
    MMLogger.get_current_instance().setLevel("ERROR")  # until a runner has its own
    trainings = []
    for work_dir in (args.without, args.with_penalty):
        print(f"testing {work_dir}")
        trainings.append(read_training(work_dir))
    # That of a resumed training begins where it was resumed.
    trainings[1].scalars = trainings[0].scalars | trainings[1].scalars
    Console().print(make_table(trainings))
    out = args.with_penalty / "report"
    for name, figure in (
        ("without_and_with", draw_pictures(trainings)),
        ("losses", draw_curves(trainings[1].scalars)),
    ):
        path = out / f"{name}.png"
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=100)
        print(f"picture: {path}")


if __name__ == "__main__":
    main()
