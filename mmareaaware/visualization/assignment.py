"""Which priors the assigner gives to each box of an image."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from ..whole_file import whole_file
from .boxes import draw_box, show_image


class MatchedPriors:
    """What the assigner made of one image, positives only.

    Args:
        model: A detector with an ``AreaAwareYOLOv8Head``.
        data: One image, as the collate function of the training returns it.
    """

    def __init__(self, model: torch.nn.Module, data: dict) -> None:
        head = model.bbox_head
        data = model.data_preprocessor(data, training=True)
        samples = data["data_samples"]["bboxes_labels"]
        with torch.no_grad():
            outputs = head(model.extract_feat(data["inputs"]))
            matched = head.match(outputs, samples, num_imgs=1)
        self.boxes = samples[:, 2:]  # (G, 4)
        self.labels = samples[:, 1].long()
        self.strides = list(head.featmap_strides)
        self.stride = matched.points[:, 2]  # (P,)
        self.points = matched.points[:, :2]  # (P, 2)
        self.targets = matched.targets.score  # (P,)
        same = (matched.boxes[:, None] == self.boxes[None]).all(-1)  # (P, G)
        positive, box = same.nonzero(as_tuple=True)
        self.box = torch.zeros_like(matched.targets.prior)  # (P,)
        self.box[positive.flip(0)] = box.flip(0)  # of equal boxes, the first
        self.weights = torch.ones_like(self.targets)  # as the loss applies them, (P,)
        if head.weighting is not None:
            positives = head.positives(matched)
            self.weights, _ = head.weighting.weigh(positives, self.targets)


def draw_assignment(matched: MatchedPriors, image: np.ndarray, path: Path) -> None:
    """Draw a panel for each level: boxes, and their priors in the same colours.

    Args:
        matched: The image's boxes and priors.
        image: (H, W, 3) RGB, as the network sees it.
        path: Of the picture.
    """
    number = len(matched.strides)
    columns = min(number, 2)
    figure, axes = plt.subplots(
        -(-number // columns),
        columns,
        figsize=(
            7 * columns,
            7 * -(-number // columns) * image.shape[0] / image.shape[1],
        ),
        layout="constrained",
        squeeze=False,
    )
    colours = plt.get_cmap("tab20")(np.arange(len(matched.boxes)) % 20)
    grey = image.mean(-1) * 0.6 + 100  # pale, so that the colours stand out
    for axis in axes.flat[number:]:
        axis.set_axis_off()
    for axis, stride in zip(axes.flat, matched.strides, strict=False):
        show_image(axis, grey, cmap="gray", vmin=0, vmax=255)
        for colour, box in zip(colours, matched.boxes.tolist(), strict=True):
            draw_box(axis, box, colour, linewidth=1.4)
        here = matched.stride == stride
        axis.scatter(
            *matched.points[here].T,
            s=6 + 60 * matched.targets[here],
            color=colours[matched.box[here]],
            edgecolors="black",
            linewidths=0.4,
        )
        axis.set_title(f"stride {stride}: {int(here.sum())} positive priors")
    lonely = len(matched.boxes) - len(matched.box.unique())
    figure.suptitle(
        f"{len(matched.boxes)} boxes, {lonely} without a prior; "
        "dots: priors in the colour of their box, larger for higher targets"
    )
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)
    plt.close(figure)
