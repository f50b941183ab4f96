"""The picture of an area report."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from ..whole_file import whole_file
from .area_report import SIZE_EDGES, SIZES, Weighting

COLOURS = ("tab:orange", "tab:olive", "tab:cyan")  # small, medium, large


def shares_by_name(found: dict) -> dict[str, list[float] | None]:
    """The shares of small, medium and large boxes, by what they are shares in."""
    rows = {
        "boxes": [found["sizes"][size]["share"] for size in SIZES],
        "loss, no area weight": found["loss_shares"],
    }
    for weighting in [*found["area_weights"], found["suggested"]]:
        if weighting:
            rows[f"loss, {weighting['module']}"] = weighting["loss_shares"]
    return rows


def draw_report(found: dict, weightings: list[Weighting], path: Path) -> None:
    """Sizes with area weights, priors, shares in the loss, boxes per image.

    Args:
        found: What the tool writes as JSON.
        weightings: Area weights to draw.
        path: Of the picture.
    """
    figure, axes = plt.subplots(2, 2, figsize=(15, 10), layout="constrained")
    edges = torch.tensor(found["histogram"]["edges"])
    draw_sizes(axes[0, 0], found, edges)
    draw_weights(axes[0, 0].twinx(), weightings, edges)
    draw_priors(axes[0, 1], found, edges)
    draw_shares(axes[1, 0], found)
    draw_crowds(axes[1, 1], found)
    figure.suptitle(
        f"{Path(found['config']).stem}: {found['sizes']['all']['boxes']} boxes on "
        f"{found['images']} images, px of the network input"
    )
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=80)
    plt.close(figure)


def draw_sizes(axis: Axes, found: dict, edges: Tensor) -> None:
    """The boxes by size."""
    bins = found["histogram"]["bins"]
    boxes = [group["boxes"] for group in bins]
    cut_off = [group["cut_off"] for group in bins]
    axis.stairs(boxes, edges, fill=True, color="lightsteelblue", label="boxes")
    label = "of these at the edge of the input"
    axis.stairs(cut_off, edges, fill=True, color="slategrey", label=label)
    axis.set(title="size of the boxes", ylabel="boxes")
    axis.set_ylim(0, 1.4 * max(boxes))  # room for the legends
    log_sides(axis, edges)
    axis.legend(loc="upper left", fontsize="small")


def draw_weights(axis: Axes, weightings: list[Weighting], edges: Tensor) -> None:
    """The area weights over the size."""
    sides = torch.logspace(*edges[[0, -1]].log10().tolist(), 400)
    for weighting in weightings:
        curves = weighting.curve(sides)
        style = "--" if weighting.module == "suggested" else "-"
        for level, curve in enumerate(curves if curves is not None else ()):
            label = weighting.module
            if len(curves) > 1:
                label += f", stride {weighting.strides[level]:g}"
            axis.plot(sides, curve, style, label=label)
    if not axis.lines:
        axis.set_axis_off()
        return
    axis.set_ylabel("area weight φ (lines)")
    axis.set_ylim(0, 1.4 * axis.dataLim.y1)
    axis.legend(loc="upper right", fontsize="small")


def draw_priors(axis: Axes, found: dict, edges: Tensor) -> None:
    """The priors inside a box, by its size."""
    axis.set(title="priors inside a box")
    if not found["strides"]:
        axis.text(0.5, 0.5, "the model has no priors on a grid", ha="center")
        axis.set_axis_off()
        return
    log_sides(axis, edges)
    bins = found["histogram"]["bins"]
    shares = axis.twinx()
    nothing = [group["without_prior"] for group in bins]
    shares.stairs(nothing, edges, fill=True, color="mistyrose")
    shares.set(ylim=(0, 1), ylabel="share of the boxes without any prior (bars)")
    shares.yaxis.set_major_formatter(PercentFormatter(1))
    filled = [k for k, group in enumerate(bins) if group["boxes"]]
    centres = [found["histogram"]["centres"][k] for k in filled]
    for level, stride in enumerate(found["strides"]):
        means = [bins[k]["priors"][level] for k in filled]
        axis.plot(centres, means, ".-", label=f"stride {stride:g}")
    axis.set_yscale("symlog", linthresh=1)
    axis.set(ylim=(0, None), ylabel="on average, at each level (lines)")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.legend(loc="upper left", fontsize="small")
    axis.set_zorder(1)  # lines over bars
    axis.patch.set_visible(False)


def draw_shares(axis: Axes, found: dict) -> None:
    """The shares in the loss."""
    rows = {name: shares for name, shares in shares_by_name(found).items() if shares}
    left = [0.0] * len(rows)
    for index, (size, colour) in enumerate(zip(SIZES, COLOURS, strict=True)):
        widths = [shares[index] for shares in rows.values()]
        bars = axis.barh(list(rows), widths, left=left, color=colour, label=size)
        texts = [f"{width:.0%}" if width > 0.03 else "" for width in widths]
        axis.bar_label(bars, texts, label_type="center")
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axis.invert_yaxis()
    axis.set(title="shares in the classification loss of the positives", xlim=(0, 1))
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3)


def draw_crowds(axis: Axes, found: dict) -> None:
    """The number of boxes in an image."""
    per_image = found["boxes_per_image"]
    width = -(-(max(per_image) + 1) // 40)
    bins = np.arange(0, max(per_image) + width + 1, width) - 0.5
    axis.hist(per_image, bins, color="lightsteelblue")
    axis.set(title="boxes in an image", xlabel="boxes", ylabel="images")
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_locator(MaxNLocator(integer=True))


def log_sides(axis: Axes, edges: Tensor) -> None:
    """A logarithmic axis of sides, with the edges of COCO's sizes."""
    axis.set_xscale("log", base=2)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_xlabel("side, √area (dotted: small, medium, large)")
    axis.xaxis.set_major_formatter("{x:g}")
    for edge in SIZE_EDGES:
        axis.axvline(edge**0.5, color="grey", linestyle=":")
