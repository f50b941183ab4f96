"""Task-aligned assignment on the pairs of a box and a prior inside it."""

from collections.abc import Callable

import torch
from mmengine.registry import TASK_UTILS
from mmyolo.models.losses import bbox_overlaps
from torch import Tensor, nn

from ..losses import SparseTargets
from ..precision import at_least_float32
from .prior_grid import PriorGrid


@TASK_UTILS.register_module()
class SparseTaskAlignedAssigner(nn.Module):
    r"""Task-aligned assigner whose cost grows with the priors that lie in boxes.

    Each box takes the ``topk`` priors inside it of the highest metric

    .. math:: m = p^\alpha \cdot \max(CIoU, 0)^\beta

    A prior that several boxes take goes to the box of highest CIoU among all boxes that
    contain it. The soft target of a prior is its metric over the highest metric of its
    box, times the highest CIoU of its box (`TOOD <https://arxiv.org/abs/2108.07755>`_).

    This is what Ultralytics 8.3 assigns, without a (boxes × priors) tensor. (A box with
    fewer candidates of positive metric than ``topk`` takes no more than those.
    Ultralytics fills up with priors of metric zero, which ones depends on the device.
    Their target is zero, unless another box has taken such a prior too, which then
    counts as contested there: seen on inputs of 128 px full of boxes.) MMYOLO's own
    assigner lets a contested prior go to a box that does not contain it, and takes a
    box whose coordinates add up to 0 or less for padding; this one does neither.

    Replaces ``BatchTaskAlignedAssigner`` in any mmyolo head, with the same config keys.
    The defaults are those of YOLOv8. For a recipe that leaves keys to the defaults of
    ``BatchTaskAlignedAssigner``, as those of YOLOv6 and PP-YOLOE do, write
    ``use_ciou=False, eps=1e-7`` too. ``AreaAwareYOLOv8Head`` calls :meth:`assign` and
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
        self.iou_mode = "ciou" if use_ciou else "iou"
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
        """
        num_imgs, num_gts = gt_bboxes.shape[:2]
        image = torch.arange(num_imgs, device=gt_bboxes.device)
        boxes = gt_bboxes.flatten(0, 1)
        targets, box = self.assign(
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
    ) -> tuple[SparseTargets, Tensor]:
        """Assign boxes to priors.

        Args:
            pred_boxes: Decoded boxes, xyxy in px, (B, N, 4).
            score_of: The predicted probabilities of pairs, ``score_of(image, prior,
                label)``, each (Q,).
            grid: The N priors.
            boxes: The boxes of all images, xyxy in px, (G, 4).
            labels: Their classes, (G,), int64.
            images: Their images, (G,), int64.

        Returns:
            The targets of the P positive priors, and which box each got, (P,).
        """
        num_imgs, num_priors = pred_boxes.shape[:2]
        pred_boxes = at_least_float32(pred_boxes).flatten(0, 1)  # (B·N, 4)
        boxes = boxes.to(pred_boxes.dtype)

        def align(row: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
            """Metrics and overlaps of pairs; rows count through the batch."""
            image = images[box]
            score = score_of(image, row - image * num_priors, labels[box])
            overlap = bbox_overlaps(
                pred_boxes[row], boxes[box], self.iou_mode, bbox_format="xyxy"
            ).clamp(min=0)
            metric = score.to(overlap.dtype) ** self.alpha * overlap**self.beta
            # A prediction that is not a number shall be chosen, and be seen in the loss
            return metric.nan_to_num(nan=float("inf")), overlap

        pairs = grid.inside(self.enlarge(boxes), self.topk)
        row = pairs.prior + images[pairs.box] * num_priors  # (Q,)
        metric, overlap = align(row, pairs.box)
        taken = _best_of_each_box(
            metric, pairs.box, pairs.per_box, self.topk, pairs.num_chosen
        )
        is_taken = metric[taken] > 0
        takers = row.new_zeros(num_imgs * num_priors)
        takers.index_add_(0, row[taken], is_taken.long())
        taker = torch.zeros_like(takers)
        taker.scatter_reduce_(0, row[taken], pairs.box[taken] * is_taken, "amax")
        # For each prior the box of the highest overlap; of equals, the first
        rank = _descending(overlap) << 32 | pairs.box
        best = torch.full_like(takers, 2**63 - 1)
        best.scatter_reduce_(0, row, rank, "amin")
        owner = taker.where(takers < 2, best & 0xFFFFFFFF)

        row = takers.nonzero().squeeze(1)  # (P,)
        box = owner[row]
        metric, overlap = align(row, box)
        if self.topk2 is not None:
            per_box = takers.new_zeros(len(boxes))
            per_box.index_add_(0, box, torch.ones_like(box))
            total = int(per_box.clamp(max=self.topk2).sum())
            kept = _best_of_each_box(metric, box, per_box, self.topk2, total)
            row, box, metric, overlap = (x[kept] for x in (row, box, metric, overlap))
        score = metric * _max_of_each_box(overlap, box, len(boxes))
        score = score / (_max_of_each_box(metric, box, len(boxes)) + self.eps)
        image = images[box]
        targets = SparseTargets(image, row - image * num_priors, labels[box], score)
        return targets, box

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
    metric: Tensor, box: Tensor, per_box: Tensor, limit: int, total: int
) -> Tensor:
    """Which pairs (Q,) have the highest metrics of their box; of equals, the first.

    Args:
        metric: (Q,), not negative.
        box: (Q,).
        per_box: Number of pairs of each box, (G,).
        limit: How many to take of each box at most.
        total: How many that is over all boxes.

    Returns:
        Indices of pairs, (total,).
    """
    order = (box << 32 | _descending(metric)).argsort(stable=True)
    taken = per_box.clamp(max=limit)
    begin = per_box.cumsum(0) - per_box - (taken.cumsum(0) - taken)
    place = torch.arange(total, device=box.device)
    return order[place + begin.repeat_interleave(taken, output_size=total)]


def _max_of_each_box(values: Tensor, box: Tensor, num_boxes: int) -> Tensor:
    """The highest of the values (P,) that belong to the same box as each, (P,)."""
    highest = values.new_zeros(num_boxes).scatter_reduce(0, box, values, "amax")
    return highest[box]


def _descending(values: Tensor) -> Tensor:
    """Integers in [0, 2^31) that fall when a value, not negative, rises."""
    values = values.nan_to_num(nan=float("inf")).abs()  # no -0.0
    return 0x7FFFFFFF - values.float().view(torch.int32).long()
