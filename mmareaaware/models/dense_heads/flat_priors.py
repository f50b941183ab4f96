"""Heads of mmyolo that lay the priors of all levels in a row before the losses."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..losses.bg_penalty_loss import outside_background
from ..precision import at_least_float32
from .area_aware_yolo_mixin import AreaAwareYOLOMixin, Sizes
from .penalized_head import Matches
from .prior_weights import weight_of_priors


class Assigned(NamedTuple):
    """Which of the priors are to find a box: P positives."""

    image: Tensor  # (P,)
    prior: Tensor  # (P,)
    areas: Tensor  # of the boxes in px² of the network input, (P,)
    pred_areas: Tensor  # of the decoded predictions, (P,)
    targets: Tensor  # of all priors, summed over the classes, (B, N)


@dataclass
class Step:
    """One computation of the losses, and what it brings to light by the way."""

    ignored_boxes: Tensor | Sequence | None
    sizes: Sizes
    weights: Tensor | None = None  # of the positives, (P,)
    weight: Tensor | None = None  # of all priors, (B, N)
    matches: Matches | None = None


class FlatPriorsMixin(AreaAwareYOLOMixin):
    """Runs the losses of the stock head, and gives them weights as they are called.

    A head says how they come to their weights, by ``weighing``; and, before the
    first of them is called, what was assigned, by ``note_assigned``.
    """

    @contextmanager
    def weighing(self, step: Step) -> Iterator[None]:
        """Within, the losses that the stock head calls are given their weights."""
        raise NotImplementedError

    def weighed_losses(
        self,
        maps: Sequence[Sequence[Tensor]],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Tensor | Sequence | None,
    ) -> dict[str, Tensor]:
        """The losses of one batch, and numbers for the log.

        Args:
            maps: What ``forward`` returned in training, class logits (B, C, H, W) of
                each level first.
            batch_gt_instances: As the stock head takes them.
            batch_img_metas: One dict per image.
            batch_gt_instances_ignore: Ignored boxes as (M, 5) [image, x1, y1, x2, y2]
                in px of the network input, or a list of InstanceData or None.

        Returns:
            The losses of the stock head and, with a penalty, ``loss_bg``; beside them,
            to be logged and not summed, ``num_pos`` and what the losses report.
        """
        maps = [list(map(at_least_float32, levels)) for levels in maps]
        sizes = [tuple(level.shape[2:]) for level in maps[0]]
        step = Step(batch_gt_instances_ignore, sizes)
        with self.weighing(step):
            losses = super().loss_by_feat(*maps, batch_gt_instances, batch_img_metas)
        assert step.matches is not None, "the stock head assigned nothing"
        added = self.penalize(lambda: self.score_logits(*maps), step.matches)
        return losses | added | self.pop_area_weight_mean()

    def note_assigned(self, step: Step, assigned: Assigned) -> None:
        """Make the weights of a step, from what was assigned."""
        image, prior, areas, pred_areas, targets = assigned
        outside = outside_background(targets)
        covered = self.covered(
            step.ignored_boxes, step.sizes, len(targets), targets.device
        )
        ignored = None if covered is None else covered & ~outside
        strides = torch.cat(
            [
                targets.new_full((height * width,), stride)
                for (height, width), stride in zip(
                    step.sizes, self.featmap_strides, strict=True
                )
            ]
        )
        step.weights = self.weights_of(
            self.positives(areas, pred_areas, strides[prior], step.sizes[0]),
            targets[image, prior],
        )
        step.weight = weight_of_priors(
            targets, targets.shape, (image, prior), step.weights, ignored
        )
        step.matches = Matches(outside, ignored, targets.sum())

    def score_logits(
        self, cls_scores: Sequence[Tensor], *others: Sequence[Tensor]
    ) -> Tensor:
        """Logits of what the head ranks its boxes by: its classes, (B, N, C).

        Args:
            cls_scores: Of each level, (B, C, H, W).
            *others: What ``forward`` returned beside them.
        """
        return flat_maps(cls_scores)


def flat_maps(maps: Sequence[Tensor]) -> Tensor:
    """(B, N, C) from maps (B, C, H, W), level after level."""
    return torch.cat([level.flatten(2) for level in maps], 2).transpose(1, 2)


@contextmanager
def after_calls(
    modules: Sequence[nn.Module], change: Callable[[tuple, dict], dict]
) -> Iterator[None]:
    """Within, what modules return passes through a function of their arguments too."""
    handles = [
        module.register_forward_hook(lambda _, args, result: change(args, result))
        for module in modules
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
