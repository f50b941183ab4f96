"""Images and boxes on matplotlib axes, for the tools that draw."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

# Okabe and Ito's colours, which colour-blind people can tell apart as well:
# https://jfly.uni-koeln.de/color/
COLOURS = dict(
    blue="#0072B2",
    orange="#E69F00",
    green="#009E73",
    vermillion="#D55E00",
    purple="#CC79A7",
    sky_blue="#56B4E9",
    yellow="#F0E442",
    black="#000000",
)
LABEL_SIZE, LABEL_HEIGHT = 7, 13  # points


def show_image(axis: Axes, image: np.ndarray, **style) -> None:
    """Show an image in the coordinates of boxes: pixels begin at whole numbers.

    Args:
        axis: Where to.
        image: RGB (H, W, 3), or (H, W).
        style: For ``Axes.imshow``.
    """
    height, width = image.shape[:2]
    axis.imshow(image, extent=(0, width, height, 0), **style)
    axis.set_axis_off()


def draw_box(
    axis: Axes,
    box: Sequence[float],
    color,
    label: str = "",
    linestyle: str = "-",
    linewidth: float = 1.0,
) -> None:
    """Draw a box with a dark rim, which shows on any ground.

    Args:
        axis: Shows the image already.
        box: x1, y1, x2, y2 in px of the image.
        color: Of line and label, as matplotlib takes it.
        label: Text above the box; at the top of the image below it, or, where there is
            no room either, inside.
        linestyle: Of matplotlib.
        linewidth: In points.
    """
    x1, y1, x2, y2 = box
    axis.add_patch(
        Rectangle(
            (x1, y1),
            x2 - x1,
            y2 - y1,
            fill=False,
            edgecolor=color,
            linestyle=linestyle,
            linewidth=linewidth,
            path_effects=[withStroke(linewidth=linewidth + 1, foreground="black")],
        )
    )
    if label:
        (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()  # y points down
        height = axis.bbox.height * 72 / axis.figure.dpi  # points
        room = LABEL_HEIGHT / height * (bottom - top)
        below = y1 < top + room
        inside = below and y2 > bottom - room
        to_left = x1 > left + 0.8 * (right - left)
        axis.annotate(
            label,
            (x2 if to_left else x1, y2 if below and not inside else y1),
            xytext=(0, -2.5 if below else 2.5),
            textcoords="offset points",
            horizontalalignment="right" if to_left else "left",
            verticalalignment="top" if below else "bottom",
            color=color,
            fontsize=LABEL_SIZE,
            bbox=dict(facecolor="black", alpha=0.7, edgecolor="none", pad=0.6),
        )
