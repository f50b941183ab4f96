"""Task-aligned assignment on the pairs of a box and a prior inside it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from ..losses import SparseTargets, box_overlaps
from ..losses.overlaps import Overlap, complete_overlap, sides_of
from ..precision import at_least_float32
from .ground_truth import check_ground_truth
from .prior_grid import Chosen, PriorGrid

# A count in the upper half of an integer, and what is in the lower half.
COUNT = 1 << 32
LOWER_HALF = COUNT - 1


class Assigned(NamedTuple):
    """What P priors are to find."""

    targets: SparseTargets
    box: Tensor  # which of the true boxes each got, (P,)
    pred_boxes: Tensor  # what each predicts, xyxy in px, (P, 4)
    overlap: Overlap  # of the two, in px


@TASK_UTILS.register_module()
class SparseTaskAlignedAssigner(nn.Module):
    r"""Task-aligned assigner whose cost grows with the priors that lie in boxes.

    Each box takes the ``topk`` priors inside it of the highest metric

    $$
    m = p^\alpha \cdot \max(CIoU, 0)^\beta
    $$

    A prior that several boxes take goes to the box of highest CIoU among all boxes that
    contain it. The soft target of a prior is its metric over the highest metric of its
    box, times the highest CIoU of its box ([TOOD](https://arxiv.org/abs/2108.07755)).

    This is what Ultralytics 8.3 assigns, without a (boxes × priors) tensor. (A box with
    fewer candidates of positive metric than ``topk`` takes no more than those.
    Ultralytics fills up with priors of metric zero, which ones depends on the device.
    Their target is zero, unless another box has taken such a prior too, which then
    counts as contested there: seen on inputs of 128 px full of boxes.) MMYOLO's own
    assigner lets a contested prior go to a box that does not contain it, and takes a
    box whose coordinates add up to 0 or less for padding; this one does neither.

    Replaces ``BatchTaskAlignedAssigner`` where mmyolo has it, in YOLOv6, YOLOv8 and
    PP-YOLOE, with the same config keys; in another head a training with it is refused.
    The defaults are those of YOLOv8. For a recipe that leaves keys to the defaults of
    ``BatchTaskAlignedAssigner``, as those of YOLOv6 and PP-YOLOE do, write
    ``use_ciou=False, eps=1e-7`` too. ``AreaAwareYOLOv8Head`` calls ``assign`` and
    needs no dense target either.

    Args:
        num_classes: Number C of classes.
        topk: How many priors a box takes at most.
        alpha: Exponent of the score in the metric.
        beta: Exponent of the overlap.
        eps: Avoids a division by zero.
        use_ciou: CIoU as overlap; False for IoU, as YOLOv6 and PP-YOLOE have it.
        min_side: Sides in px below this count as this long when it is decided which
            priors lie inside a box, so that small boxes find some (the rule of
            Ultralytics 8.4, there the stride of the second level). 0 turns it off.
        topk2: Of the priors that a box holds in the end, keep this many; None for all.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        topk: int = 10,
        alpha: float = 0.5,
        beta: float = 6.0,
        eps: float = 1e-9,
        use_ciou: bool = True,
        min_side: float = 0.0,
        topk2: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in dict(num_classes=num_classes, topk=topk).items():
            if not value >= 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, value in dict(alpha=alpha, beta=beta, min_side=min_side).items():
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}")
        if topk2 is not None and not 1 <= topk2 <= topk:
            raise ValueError(f"topk2 must be in 1...topk={topk} or None, got {topk2}")
        self.num_classes = num_classes
        self.topk = topk
        self.alpha = alpha
        self.beta = beta
        self.eps = eps
        self.use_ciou = use_ciou
        self.min_side = min_side
        self.topk2 = topk2
        self._priors = None
        self._grid = None

    @torch.no_grad()
    def forward(
        self,
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        priors: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        pad_bbox_flag: Tensor,
    ) -> dict[str, Tensor]:
        """Assign as ``BatchTaskAlignedAssigner`` does, with dense results.

        Args:
            pred_bboxes: Decoded boxes, xyxy in px, (B, N, 4).
            pred_scores: Probabilities of the classes, (B, N, C).
            priors: (N, 4): x, y, stride, stride in px, on a regular grid per level.
            gt_labels: (B, G, 1).
            gt_bboxes: xyxy in px, (B, G, 4).
            pad_bbox_flag: 1 for a box, 0 for padding, (B, G, 1).

        Returns:
            ``assigned_labels`` (B, N), C where background; ``assigned_bboxes``
            (B, N, 4); ``assigned_scores`` (B, N, C); ``fg_mask_pre_prior`` (B, N).

        Raises:
            ValueError: The priors are not on regular grids.
            RuntimeError: See ``check_ground_truth``.
        """
        check_ground_truth(gt_labels, gt_bboxes, self.num_classes)
        num_imgs, num_gts = gt_bboxes.shape[:2]
        image = torch.arange(num_imgs, device=gt_bboxes.device)
        boxes = gt_bboxes.flatten(0, 1)
        targets, box, *_ = self.assign(
            pred_bboxes,
            lambda image, prior, label: pred_scores[image, prior, label],
            self._grid_of(priors),
            boxes.where(pad_bbox_flag.flatten(0, 1) > 0, torch.nan),  # holds no prior
            gt_labels.flatten().long(),
            image.repeat_interleave(num_gts, output_size=num_imgs * num_gts),
        )
        at = targets.image, targets.prior
        shape = pred_scores.shape[:2]
        labels = targets.label.new_full(shape, self.num_classes)
        fg = labels.new_zeros(shape, dtype=torch.bool)
        return dict(
            assigned_labels=labels.index_put(at, targets.label),
            assigned_bboxes=boxes.new_zeros(*shape, 4).index_put(at, boxes[box]),
            assigned_scores=targets.dense(*shape, self.num_classes).to(boxes.dtype),
            fg_mask_pre_prior=fg.index_put(at, torch.ones_like(at[0]).bool()),
        )

    @torch.no_grad()
    def assign(
        self,
        pred_boxes: Tensor,
        score_of: Callable[[Tensor, Tensor, Tensor], Tensor],
        grid: PriorGrid,
        boxes: Tensor,
        labels: Tensor,
        images: Tensor,
    ) -> Assigned:
        """Assign boxes to priors.

        Args:
            pred_boxes: Decoded boxes, xyxy in px, (B, N, 4).
            score_of: The predicted probabilities of pairs, ``score_of(image, prior,
                label)``, each (Q,).
            grid: The N priors.
            boxes: The boxes of all images, xyxy in px, (G, 4).
            labels: Their classes, (G,), int64, see ``check_ground_truth``.
            images: Their images, (G,), int64.
        """
        num_imgs, num_priors = pred_boxes.shape[:2]
        pred_boxes = at_least_float32(pred_boxes).flatten(0, 1)  # (B·N, 4)
        boxes = boxes.to(pred_boxes.dtype)

        pairs = grid.inside(self.enlarge(boxes), self.topk)
        image = images[pairs.box]  # (Q,)
        row = pairs.prior + image * num_priors
        found = pred_boxes[row]  # (Q, 4)
        both = sides_of(found), sides_of(boxes)[pairs.box]
        if self.use_ciou:
            parts = complete_overlap(*both)
            overlap = parts.ciou.clamp(min=0)
        else:
            overlap = box_overlaps(*both, "iou").clamp(min=0)
        score = score_of(image, pairs.prior, labels[pairs.box]).to(overlap.dtype)
        metric = score**self.alpha * overlap**self.beta
        # A prediction that is not a number shall be chosen, and be seen in the loss
        metric = metric.nan_to_num(nan=float("inf"))

        taken = _best_of_each_box(metric, pairs.box, pairs.per_box, pairs.chosen)
        # For each prior how many boxes take it, and in the lower half which pair does
        takes = (taken + COUNT) * (metric[taken] > 0)
        takers = row.new_zeros(num_imgs * num_priors)
        takers.index_add_(0, row[taken], takes)
        # For each prior the pair of the highest overlap; of equals, the first
        rank = torch.arange(len(row), device=row.device) - (_bits(overlap).long() << 32)
        best = torch.full_like(takers, 2**63 - 1)
        best.scatter_reduce_(0, row, rank, "amin")
        owner = takers.where(takers < 2 * COUNT, best) & LOWER_HALF

        pair = owner[takers.nonzero().squeeze(1)]  # (P,)
        if self.topk2 is not None:
            held = pairs.box[pair]
            per_box = torch.zeros_like(pairs.per_box)
            per_box.index_add_(0, held, torch.ones_like(held))
            chosen = Chosen.of(per_box, self.topk2)
            pair = pair[_best_of_each_box(metric[pair], held, per_box, chosen)]
        box = pairs.box[pair]
        values = torch.stack([metric, overlap])[:, pair]  # (2, P)
        highest = values.new_zeros(2, len(boxes)).scatter_reduce(
            1, box.expand(2, -1), values, "amax"
        )
        metric, (best_metric, best_overlap) = values[0], highest[:, box]
        score = metric * best_overlap / (best_metric + self.eps)
        targets = SparseTargets(image[pair], pairs.prior[pair], labels[box], score)
        if self.use_ciou:
            parts = parts.at(pair)
        else:
            parts = complete_overlap(*(sides[pair] for sides in both))
        return Assigned(targets, box, found[pair], parts)

    def enlarge(self, boxes: Tensor) -> Tensor:
        """Boxes (G, 4) with sides of at least ``min_side``: where priors are sought."""
        if not self.min_side:
            return boxes
        low, high = boxes.chunk(2, 1)
        centre = (low + high) / 2
        is_short = high - low < self.min_side
        return torch.cat(
            [
                low.where(~is_short, centre - self.min_side / 2),
                high.where(~is_short, centre + self.min_side / 2),
            ],
            1,
        )

    def _grid_of(self, priors: Tensor) -> PriorGrid:
        """The grid, found once for as long as a head passes the same tensor."""
        if self._priors is not priors:
            self._grid = PriorGrid.from_priors(priors)
            self._priors = priors
        return self._grid


def _best_of_each_box(
    metric: Tensor, box: Tensor, per_box: Tensor, chosen: Chosen
) -> Tensor:
    """Which pairs (Q,) have the highest metrics of their box; of equals, the first.

    Args:
        metric: (Q,), not negative.
        box: (Q,).
        per_box: Number of pairs of each box, (G,).
        chosen: How many to take of each box.

    Returns:
        Indices of pairs, as many as are chosen.
    """
    order = ((box << 32) - _bits(metric)).argsort(stable=True)
    passed = per_box - chosen.per_box
    passed = passed.cumsum(0) - passed  # over, by the boxes before
    of_box = torch.repeat_interleave(chosen.per_box, output_size=chosen.total)
    return order[torch.arange(chosen.total, device=box.device) + passed[of_box]]


def _bits(values: Tensor) -> Tensor:
    """Integers, int32, that rise as values do that are not negative; nan is highest."""
    return values.abs().float().view(torch.int32)  # abs: no -0.0
