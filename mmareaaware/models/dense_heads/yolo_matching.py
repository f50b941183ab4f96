"""From what a YOLOv8 predicts, and the true boxes, to the positives of a batch.

Whatever the assigner, what comes out are P positives. There are two ways to them: that
of ``SparseTaskAlignedAssigner``, which never looks beyond the pairs of a box and a
prior inside it, and that of the stock head, bit for bit, for any other assigner.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmyolo.models import YOLOv8HeadModule
from mmyolo.models.utils import gt_instances_preprocess
from torch import Tensor, nn

from ..boxes_of_images import join_boxes
from ..losses import PriorMaps, PriorPlaces, SparseTargets
from ..losses.overlaps import Overlap
from ..precision import at_least_float32, exact_matmul
from ..task_modules import PriorGrid, SparseTaskAlignedAssigner
from .prior_weights import weight_of_priors

# Class logits, distances to the sides and their distributions, of each level
Outputs = tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]


class Priors(NamedTuple):
    """The points of all levels."""

    points: Tensor  # (N, 4): x, y, stride, stride in px
    grid: PriorGrid
    places: PriorPlaces
    input_area: int  # of the network input, in px²


class Matched(NamedTuple):
    """What the network said of every prior, and what P of them should have said."""

    priors: Priors
    logits: PriorMaps  # of C classes
    dists: PriorMaps  # of the distances to the four sides, 4 · reg_max
    targets: SparseTargets  # of the positives
    target_sum: Tensor  # of all priors, a scalar
    boxes: Tensor  # that the positives are to find, xyxy in px, (P, 4)
    pred_boxes: Tensor  # that they predict, (P, 4); with gradient if dense
    overlap: Overlap | None  # of the two, if sparse
    all_pred_boxes: Tensor  # that all priors predict, no gradient, (B, N, 4)
    box_index: Tensor | None = None  # theirs among all of the batch, (P,), where known
    num_boxes: int | None = None  # of these, where known

    @property
    def positives(self) -> tuple[Tensor, Tensor]:
        """Image and prior of each positive, to index (B, N, ...) with."""
        return self.targets.image, self.targets.prior

    @property
    def points(self) -> Tensor:
        """The prior of each positive, (P, 4): x, y, stride, stride."""
        return self.priors.points[self.targets.prior]

    @property
    def score_sums(self) -> Tensor:
        """Targets of all priors, summed over the classes, (B, N)."""
        return self.targets.sums(*self.logits.shape)

    @property
    def dists_of_positives(self) -> Tensor:
        """Their distributions, (P, 4, reg_max)."""
        return self.dists.rows(*self.positives).unflatten(1, (4, -1))

    def weight_of_priors(
        self,
        weights: Tensor | None,
        ignored: Tensor | None,
        background: Tensor | None = None,
    ) -> Tensor | None:
        """The weight of each prior: 0 where ignored.

        Args:
            weights: Of the positives, (P,); None for 1.
            ignored: Priors that are left out, (B, N) bool.
            background: Of all others, (B, N); None for 1.

        Returns:
            (B, N); None where all are 1.
        """
        return weight_of_priors(
            self.pred_boxes,
            self.logits.shape,
            self.positives,
            weights,
            ignored,
            background,
        )


class SparseMatching:
    """With ``SparseTaskAlignedAssigner``: only the positives are spelled out.

    The logits and distributions stay as the convolutions made them. The few positives
    are decoded anew, so that no gradient passes through all boxes.

    Args:
        assigner: The assigner.
        bbox_coder: Decodes distances.
        bins: The distances that a distribution is over, (reg_max,).
    """

    def __init__(
        self, assigner: SparseTaskAlignedAssigner, bbox_coder, bins: Tensor
    ) -> None:
        self.assigner = assigner
        self.bbox_coder = bbox_coder
        self.bins = bins

    def match(
        self, outputs: Outputs, priors: Priors, boxes: Tensor | Sequence, num_imgs: int
    ) -> Matched:
        """Match priors and boxes."""
        cls_scores, bbox_preds, bbox_dist_preds = outputs
        logits = PriorMaps([s.flatten(2) for s in cls_scores], priors.places)
        dists = [d.permute(0, 2, 3, 1).flatten(1, 2) for d in bbox_dist_preds]
        distances = torch.cat([p.detach().flatten(2) for p in bbox_preds], 2)
        pred_boxes = self.bbox_coder.decode(
            priors.points[:, :2],
            at_least_float32(distances.transpose(1, 2)),
            priors.points[:, 2],
        )
        images, labels, boxes = flat_ground_truth(boxes)
        assigned = self.assigner.assign(
            pred_boxes,
            lambda *pair: logits.values(*pair).sigmoid(),
            priors.grid,
            boxes,
            labels,
            images,
        )
        return Matched(
            priors,
            logits,
            PriorMaps(dists, priors.places),
            assigned.targets,
            assigned.targets.score.sum(),
            boxes[assigned.box],
            assigned.pred_boxes,
            assigned.overlap,
            pred_boxes,
            assigned.box,
            len(boxes),
        )

    def boxes_of_positives(self, matched: Matched) -> Tensor:
        """Predicted boxes (P, 4) with gradient."""
        dists = matched.dists_of_positives
        distances = exact_matmul(dists.softmax(-1), self.bins)
        points = matched.points
        decode = self.bbox_coder.decode
        return decode(points[:, :2], distances[None], points[:, 2])[0]


class DenseMatching:
    """With an assigner of mmyolo: as the stock head does it.

    Of the targets of a prior, those for other classes than that of its box are taken
    to be 0, as the assigners of mmyolo leave them.

    Args:
        assigner: The assigner.
        bbox_coder: Decodes distances.
    """

    def __init__(self, assigner: nn.Module, bbox_coder) -> None:
        self.assigner = assigner
        self.bbox_coder = bbox_coder

    def match(
        self, outputs: Outputs, priors: Priors, boxes: Tensor | Sequence, num_imgs: int
    ) -> Matched:
        """Match priors and boxes."""
        cls_scores, bbox_preds, bbox_dist_preds = outputs
        logits = torch.cat([s.flatten(2).transpose(1, 2) for s in cls_scores], 1)
        logits = at_least_float32(logits)
        distances = torch.cat([p.flatten(2).transpose(1, 2) for p in bbox_preds], 1)
        pred_boxes = self.bbox_coder.decode(
            priors.points[:, :2], at_least_float32(distances), priors.points[:, 2]
        )
        # (B, G, 5): label and box, rows of zeros where an image has fewer boxes
        gt = gt_instances_preprocess(boxes, num_imgs)
        labels, gt_boxes = gt[..., :1], gt[..., 1:]
        result = self.assigner(
            pred_boxes.detach().type(gt_boxes.dtype),
            logits.detach().sigmoid(),
            priors.points,
            labels,
            gt_boxes,
            (gt_boxes.sum(-1, keepdim=True) > 0).float(),
        )
        scores = result["assigned_scores"]
        positives = result["fg_mask_pre_prior"].nonzero(as_tuple=True)
        label = result["assigned_labels"][positives].long()
        return Matched(
            priors,
            PriorMaps.of(logits),
            PriorMaps.of(torch.cat(list(bbox_dist_preds), 1).flatten(2)),
            SparseTargets(*positives, label, scores[(*positives, label)]),
            scores.sum(),  # whose order decides the last bit
            result["assigned_bboxes"][positives],
            pred_boxes[positives],
            None,
            pred_boxes.detach(),
        )

    def boxes_of_positives(self, matched: Matched) -> Tensor:
        """Predicted boxes (P, 4) with gradient."""
        return matched.pred_boxes


def outputs_for_sparse_matching(
    module: YOLOv8HeadModule, x: Sequence[Tensor]
) -> Outputs:
    """What the head module returns in training, with boxes in float32 and no gradient.

    The module itself would record the decoding of all priors for a backward pass that
    never comes, and keep it to the end of the step, and would decode in half precision
    under autocast.

    Args:
        module: One that :func:`is_plain`.
        x: Feature maps, a level each.
    """
    cls_scores, bbox_preds, bbox_dist_preds = [], [], []
    for feature, cls_pred, reg_pred in zip(
        x, module.cls_preds, module.reg_preds, strict=True
    ):
        cls_scores.append(cls_pred(feature))
        dists = reg_pred(feature)
        size = dists.shape[-2:]
        dists = dists.unflatten(1, (4, module.reg_max)).flatten(3)
        with torch.no_grad():  # (B, 4, reg_max, H·W) -> (B, 4, H, W)
            probabilities = at_least_float32(dists).softmax(2)
            distances = exact_matmul(module.proj, probabilities)
        bbox_preds.append(distances.unflatten(2, size))
        bbox_dist_preds.append(dists.permute(0, 3, 1, 2))
    return cls_scores, bbox_preds, bbox_dist_preds


def is_plain(module: YOLOv8HeadModule) -> bool:
    """Whether its convolutions may be called past its own forward and its hooks."""
    return (
        type(module).forward is YOLOv8HeadModule.forward
        and type(module).forward_single is YOLOv8HeadModule.forward_single
        and has_no_hooks(module)
    )


def has_no_hooks(module: nn.Module) -> bool:
    """Whether nobody listens to a module, so that its work may be done past it."""
    return not module._forward_pre_hooks and not module._forward_hooks


def flat_ground_truth(
    instances: Tensor | Sequence,
) -> tuple[Tensor, Tensor, Tensor]:
    """Image (G,), class (G,) and box (G, 4) of all boxes of a batch.

    Args:
        instances: (G, 6): image, label, x1, y1, x2, y2; or a list of InstanceData.
    """
    if isinstance(instances, Tensor):
        images, labels, *_ = instances.long().unbind(1)
        return images, labels, instances[:, 2:]
    images, boxes = join_boxes([gt.bboxes for gt in instances])
    return images, torch.cat([gt.labels for gt in instances]).long(), boxes
