"""What a teacher told a student, on the views that each of them has seen."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .boxes import COLOURS, draw_box, show_image

PSEUDO_BOX = dict(color=COLOURS["sky_blue"], linewidth=1.4)
UNCERTAIN = dict(color=COLOURS["yellow"], linestyle=":")
LEGEND = {
    "pseudo-box (of the student's with its score)": PSEUDO_BOX,
    "uncertain: an ignored region": UNCERTAIN,
}


def draw_pseudo_labels(views: list[dict], classes: list[str]) -> Figure:
    """A row for each image: the teacher's weak view, and the student's strong view.

    Args:
        views: By image: ``weak`` and ``strong``, RGB (H, W, 3); ``weak_boxes`` and
            ``weak_ignored``, ``strong_boxes`` and ``strong_ignored``, (·, 4), xyxy in
            px; ``labels`` and ``scores`` of the strong boxes.
        classes: Names of the classes.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(10, 5 * len(views)), facecolor="black")
    axes = figure.subplots(len(views), 2, squeeze=False)
    for row, view in zip(axes, views, strict=True):
        for axis, name, title in zip(
            row, ("weak", "strong"), ("teacher", "student"), strict=True
        ):
            show_image(axis, view[name])
            axis.set_title(title, color="white")
            for box in view[f"{name}_ignored"]:
                draw_box(axis, box, **UNCERTAIN)
            texts = [""] * len(view[f"{name}_boxes"])
            if name == "strong":
                pairs = zip(view["labels"], view["scores"], strict=True)
                texts = [f"{classes[label]} {score:.0%}" for label, score in pairs]
            for box, text in zip(view[f"{name}_boxes"], texts, strict=True):
                draw_box(axis, box, label=text, **PSEUDO_BOX)
    figure.legend(
        handles=[Line2D([], [], label=k, **style) for k, style in LEGEND.items()],
        loc="lower center",
        ncols=len(LEGEND),
        frameon=False,
        labelcolor="white",
    )
    figure.tight_layout(rect=(0, 0.12 / len(views), 1, 1))
    return figure


def to_rgb(image, swap: bool) -> np.ndarray:
    """An image (3, H, W) of a data loader as (H, W, 3), red first.

    Args:
        image: A tensor of 0...255.
        swap: Whether its first channel is blue.
    """
    array = image.cpu().numpy().transpose(1, 2, 0).astype(np.uint8)
    return array[..., ::-1] if swap else array
