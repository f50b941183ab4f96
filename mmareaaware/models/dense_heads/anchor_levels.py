"""mmyolo's losses with objectness on anchors, level by level, weighted by area."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmengine.dist import get_world_size
from torch import Tensor

from ..losses import add_ranks, share
from ..losses.bg_penalty_loss import count_background, outside_background
from ..precision import at_least_float32
from .area_aware_yolo_mixin import AreaAwareYOLOMixin
from .prior_weights import weight_of_priors


class Level(NamedTuple):
    """What was predicted on one level, and P positives: pairs of an anchor and a box.

    An anchor may be in several pairs. Boxes are centre, width and height in cells.
    """

    objectness: Tensor  # logits, (B, A, H, W)
    logits: Tensor  # of the classes, (B, A, H, W, C)
    preds: Tensor  # of the boxes, as the convolutions made them, (B, A, H, W, 4)
    where: tuple[Tensor, ...]  # image, anchor, row, column of the positives, (P,) each
    pos_logits: Tensor  # of the classes of the positives, (P, C)
    pred_boxes: Tensor  # of the positives, decoded, (P, 4)
    labels: Tensor  # (P,)
    boxes: Tensor  # the true ones, (P, 4)


class Branch(NamedTuple):
    """The losses of one set of predictions, and which priors count as background."""

    losses: tuple[Tensor, Tensor, Tensor]  # classes, objectness, boxes
    positive: Sequence[Tensor]  # of each level, (B, A, H, W), bool
    ignored: Sequence[Tensor | None]  # of each level, the same


class AnchorLevelsMixin(AreaAwareYOLOMixin):
    r"""Put it before ``YOLOv5Head`` or ``YOLOv7Head``.

    On level l, of $N_l$ priors and $P_l$ positives, with the level's
    balance $\lambda_l$ (``obj_level_weights``),

    $$
    L_{obj} = BW \sum_l \frac{\lambda_l}{N_l} \sum_{i \in l} w_i
    BCE(o_i, IoU_i), \quad L_{cls} = BW \sum_l \frac{1}{P_l C} \sum_{i \in pos_l}
    w_i \sum_c BCE(z_{ic}, t_{ic})
    $$

    with $w_i = \varphi(A_i)$ for a positive and exactly 1 for background, 0 in ignored
    boxes, B images in each of W processes. The mean of the weights over the positives
    of all levels is 1 (``normalize='mean'``). Of several boxes on one prior, objectness
    has the overlap and the weight of the same one.

    ``loss_bg`` penalises $\max_c \sigma(o_i) \sigma(z_{ic})$, the score that the
    head ranks by, and is divided as objectness is, so that a $\lambda_{bg}$ is in
    proportion to the head's own loss on background:

    $$
    L_{bg} = BW \cdot w \lambda_{bg} \sum_l \frac{\lambda_l}{N_l}
    \sum_{i \in bg_l} penalty_i
    $$

    Of one class alone, which these heads do not train, it penalises objectness.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.ignore_iof_thr != -1:
            raise ValueError(
                f"{type(self).__name__} leaves priors inside ignored boxes out of the "
                "losses by itself, and has no use for ignore_iof_thr="
                f"{self.ignore_iof_thr}: leave it at -1"
            )

    @property
    def point_generator(self) -> MlvlPointGenerator:
        """The centres of the cells, which all anchors of a cell share."""
        return MlvlPointGenerator(self.featmap_strides, offset=0.5)

    def match(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        objectnesses: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
    ) -> list[tuple[float, list[Level]]]:
        """The levels of each branch and its gain, that of inference first."""
        raise NotImplementedError

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        objectnesses: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Tensor | Sequence | None = None,
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            cls_scores: Class logits of each level, (B, A·C, H, W); in a branch for
                training alone too, pairs of them.
            bbox_preds: (B, A·4, H, W) a level.
            objectnesses: Logits, (B, A, H, W) a level.
            batch_gt_instances: As the stock head takes them.
            batch_img_metas: One dict per image.
            batch_gt_instances_ignore: Ignored boxes as (M, 5) [image, x1, y1, x2, y2]
                in px of the network input, or a list of InstanceData or None.

        Returns:
            ``loss_cls``, ``loss_obj``, ``loss_bbox`` and, with a penalty, ``loss_bg``;
            beside them, to be logged and not summed, ``num_pos`` and what the losses
            report.
        """
        maps = map(exact_levels, (cls_scores, bbox_preds, objectnesses))
        branches = self.match(*maps, batch_gt_instances, batch_img_metas)
        (_, levels), *auxiliary = branches
        covered = self._covered_levels(batch_gt_instances_ignore, levels)
        branch = self._branch(levels, covered)
        losses = branch.losses
        log = self.pop_area_weight_mean()
        log["num_pos"] = losses[0].new_tensor(sum(len(x.labels) for x in levels))
        for gain, others in auxiliary:
            added = self._branch(others, covered).losses
            losses = tuple(a + gain * b for a, b in zip(losses, added, strict=True))
        loss_cls, loss_obj, loss_bbox = losses
        losses = dict(loss_cls=loss_cls, loss_obj=loss_obj, loss_bbox=loss_bbox)
        if self.loss_bg is not None:
            losses["loss_bg"], stats = self._penalty(levels, branch)
            log.update(stats)
        num_imgs, num_ranks = len(levels[0].objectness), get_world_size()
        return {k: v * num_imgs * num_ranks for k, v in losses.items()} | log

    def _covered_levels(
        self, instances: Tensor | Sequence | None, levels: Sequence[Level]
    ) -> list[Tensor | None]:
        """Which cells (B, 1, H, W) of each level lie in ignored boxes."""
        shapes = [level.objectness.shape for level in levels]
        sizes = [tuple(shape[2:]) for shape in shapes]
        num_imgs, device = shapes[0][0], levels[0].objectness.device
        covered = self.covered(instances, sizes, num_imgs, device)
        if covered is None:
            return [None] * len(levels)
        parts = covered.split([height * width for height, width in sizes], 1)
        return [
            part.view(num_imgs, 1, *size)
            for part, size in zip(parts, sizes, strict=True)
        ]

    def _branch(
        self, levels: Sequence[Level], covered: Sequence[Tensor | None]
    ) -> Branch:
        """The losses over all levels, before they are scaled by the batch."""
        zero = torch.zeros(1, device=levels[0].objectness.device)
        loss_cls, loss_obj, loss_bbox = zero, zero, zero
        positive, ignored = [], []
        for level, weights, is_covered, balance in zip(
            levels,
            self._weights_of_levels(levels),
            covered,
            self.obj_level_weights,
            strict=True,
        ):
            is_positive = torch.zeros_like(level.objectness, dtype=torch.bool)
            is_positive[level.where] = True
            is_ignored = None if is_covered is None else is_covered & ~is_positive
            target = torch.zeros_like(level.objectness)
            if len(level.labels):
                of_boxes, overlap = self.loss_bbox(level.pred_boxes, level.boxes)
                loss_bbox = loss_bbox + of_boxes
                loss_cls = loss_cls + self._loss_cls(level, weights)
                last = last_pairs(level)
                target[level.where] = overlap.detach().clamp(0).to(target.dtype)[last]
                weights = None if weights is None else weights[last]
            else:  # all parameters have a gradient
                loss_bbox = loss_bbox + level.preds.sum() * 0
                loss_cls = loss_cls + level.logits.sum() * 0
            weight = weight_of_priors(
                target, target.shape, level.where, weights, is_ignored
            )
            of_objects = self.loss_obj(level.objectness, target, weight=weight)
            loss_obj = loss_obj + of_objects * balance
            positive.append(is_positive)
            ignored.append(is_ignored)
        return Branch((loss_cls, loss_obj, loss_bbox), positive, ignored)

    def _loss_cls(self, level: Level, weights: Tensor | None) -> Tensor:
        if self.num_classes == 1:
            return level.logits.sum() * 0
        logits = level.pos_logits
        targets = torch.zeros_like(logits).scatter(1, level.labels.unsqueeze(1), 1.0)
        if weights is not None:
            weights = weights.unsqueeze(1)
        return self.loss_cls(logits, targets, weight=weights)

    def _weights_of_levels(self, levels: Sequence[Level]) -> Sequence[Tensor | None]:
        """The weights of the positives of each level, settled for all levels at once.

        Each positive counts alike in their mean.
        """
        if self.area_weight is None:
            return [None] * len(levels)
        areas, pred_areas, strides = [], [], []
        for level, stride in zip(levels, self.featmap_strides, strict=True):
            for boxes, known in ((level.boxes, areas), (level.pred_boxes, pred_areas)):
                known.append(boxes[:, 2:].prod(1) * stride**2)
            strides.append(torch.full_like(areas[-1], stride))
        positives = self.positives(
            torch.cat(areas),
            torch.cat(pred_areas),
            torch.cat(strides),
            levels[0].objectness.shape[2:],
        )
        weights = self.weights_of(positives, torch.ones_like(positives.areas))
        return weights.split([len(level.labels) for level in levels])

    def _penalty(
        self, levels: Sequence[Level], branch: Branch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The penalty, and what it reports; nothing is computed at λ_bg = 0."""
        if self.loss_bg.lambda_bg == 0:
            return branch.losses[0].new_zeros(()), {}
        targets = torch.cat([p.flatten(1) for p in branch.positive], 1).float()
        ignored = None
        if branch.ignored[0] is not None:
            ignored = torch.cat([i.flatten(1) for i in branch.ignored], 1)
        scores = torch.cat([level.objectness.flatten(1) for level in levels], 1)
        scores = scores.unsqueeze(-1)  # (B, N, 1)
        if self.num_classes > 1:
            logits = torch.cat([level.logits.flatten(1, 3) for level in levels], 1)
            scores = self.ranking_logits(logits, scores)
        balance, avg_factor = None, 1.0
        if self.loss_bg.counts_background:
            number = count_background(outside_background(targets, ignored))
            total = add_ranks(dict(background=number), sync=True)["background"]
            avg_factor = share(total, sync=True)
        else:
            balance = torch.cat(
                [
                    targets.new_full(
                        (level.objectness[0].numel(),),
                        weight / level.objectness.numel(),
                    )
                    for level, weight in zip(
                        levels, self.obj_level_weights, strict=True
                    )
                ]
            )
        return self.loss_bg(
            scores,
            targets,
            ignored=ignored,
            avg_factor=avg_factor,
            return_stats=True,
            balance=balance,
        )


def exact_levels(levels: Sequence[Tensor | Sequence[Tensor]]) -> list:
    """The maps of all levels, of all branches, in float32 or wider."""
    return [
        at_least_float32(level)
        if isinstance(level, Tensor)
        else list(map(at_least_float32, level))
        for level in levels
    ]


def last_pairs(level: Level) -> Tensor:
    """Of each positive, the last one on the same anchor, whose target that anchor has.

    Returns:
        (P,), the same for all that share an anchor.
    """
    number = torch.arange(len(level.labels), device=level.labels.device)
    owner = number.new_zeros(level.objectness.shape)
    owner[level.where] = number
    return owner[level.where]
