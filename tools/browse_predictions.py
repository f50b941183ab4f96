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
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mmcv
import numpy as np
from matplotlib.figure import Figure
from mmengine.config import DictAction
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmareaaware.engine.launch import config_or_exit
from mmareaaware.evaluation import KINDS
from mmareaaware.visualization import (
    CORRECT,
    IGNORED_BOX,
    Matched,
    add_legend,
    draw_box,
    draw_detections,
    draw_missed,
    fonts_for,
    show_image,
)

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
    cfg = config_or_exit(args.config, args.cfg_options)
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
