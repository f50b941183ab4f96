"""What a detector gets wrong, image by image, the worst first."""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import mmcv
import numpy as np
from matplotlib.figure import Figure
from rich.progress import track

from ..evaluation import KINDS
from ..whole_file import whole_file, write_whole
from .boxes import draw_box, show_image
from .fonts import fonts_for
from .matched_images import (
    CORRECT,
    IGNORED_BOX,
    Matched,
    add_legend,
    draw_detections,
    draw_missed,
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


def draw_image(image: Matched, classes: Sequence[str]) -> Figure:
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


def write_pictures(
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
    write_whole(out / "counts.json", json.dumps(counts, indent=1))
    _save(draw_overview(images), out / "overview.png")
    digits = max(3, len(str(len(images))))
    for rank, image in enumerate(track(images[:num], "pictures"), 1):
        name = f"{rank:0{digits}d}_{Path(image.path).stem}.png"
        _save(draw_image(image, classes), out / name)
    return counts


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial)
    plt.close(figure)
