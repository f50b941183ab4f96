"""mmyolo's heads whose class targets are the quality of the predicted box."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmyolo.models import PPYOLOEHead, RTMDetHead, YOLOv6Head
from torch import Tensor

from ..box_areas import box_areas
from ..given_weight import given_weight
from .flat_priors import Assigned, FlatPriorsMixin, Step, after_calls


class VarifocalMixin(FlatPriorsMixin):
    r"""Put it before ``YOLOv6Head`` or a head that descends from it.

    The varifocal loss of each prior is multiplied by its weight,

    $$
    L_{cls} = \frac{1}{S} \sum_i w_i \sum_c VFL(z_{ic}, t_{ic}), \quad S =
    \max(\textstyle\sum t, 1)
    $$

    $\varphi(A_i)$ for a positive, exactly 1 for background, 0 in ignored boxes. The
    mean of the weights over the positives, each counted by its target, is 1
    (``normalize='mean'``).
    """

    @contextmanager
    def weighing(self, step: Step) -> Iterator[None]:
        """The assigner tells its result, the classification loss gets a weight."""

        def note(args: tuple, result: dict) -> dict:
            pred_boxes, targets = args[0], result["assigned_scores"].sum(-1)
            where = result["fg_mask_pre_prior"].nonzero(as_tuple=True)
            areas = box_areas(result["assigned_bboxes"][where])
            pred_areas = box_areas(pred_boxes[where])
            self.note_assigned(step, Assigned(*where, areas, pred_areas, targets))
            return result

        def weight() -> Tensor | None:
            return None if step.weight is None else step.weight.unsqueeze(-1)

        assigners = [self.initial_assigner, self.assigner]
        with after_calls(assigners, note), given_weight(self.loss_cls, weight):
            yield

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Tensor | Sequence | None = None,
    ) -> dict[str, Tensor]:
        """See ``weighed_losses``."""
        return self.weighed_losses(
            (cls_scores, bbox_preds, bbox_dist_preds),
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )


@MODELS.register_module()
class AreaAwareYOLOv6Head(VarifocalMixin, YOLOv6Head):
    """``YOLOv6Head`` with the varifocal loss of positives weighted by area.

    The penalty is multiplied by the number of processes, as the stock losses are.
    """

    def penalize(self, *args, **kwargs) -> dict[str, Tensor]:
        """The penalty, and what there is to log."""
        added = super().penalize(*args, **kwargs)
        if "loss_bg" in added:
            added["loss_bg"] = added["loss_bg"] * get_world_size()
        return added


@MODELS.register_module()
class AreaAwarePPYOLOEHead(VarifocalMixin, PPYOLOEHead):
    """``PPYOLOEHead`` with the varifocal loss of positives weighted by area."""


@MODELS.register_module()
class AreaAwareRTMDetHead(FlatPriorsMixin, RTMDetHead):
    r"""mmyolo's ``RTMDetHead`` with the quality focal loss of positives by area.

    The label weight of each prior is multiplied by its weight,

    $$
    L_{cls} = \frac{1}{S} \sum_i w_i \sum_c QFL(z_{ic}, q_i), \quad S =
    \max(\textstyle\sum q, 1)
    $$

    $\varphi(A_i)$ for a positive, exactly 1 for background, 0 in ignored boxes, with q
    the overlap of a positive. The mean of the weights over the positives, each counted
    by its q, is 1 (``normalize='mean'``).
    """

    @contextmanager
    def weighing(self, step: Step) -> Iterator[None]:
        """The assigner tells its result, and gets the weights into it."""

        def note(args: tuple, result: dict) -> dict:
            pred_boxes, targets = args[0], result["assign_metrics"]
            is_positive = result["assigned_labels"] < self.num_classes
            where = is_positive.nonzero(as_tuple=True)
            areas = box_areas(result["assigned_bboxes"][where])
            pred_areas = box_areas(pred_boxes[where])
            self.note_assigned(step, Assigned(*where, areas, pred_areas, targets))
            if step.weight is None:
                return result
            label_weights = result["assigned_labels_weights"] * step.weight
            return result | dict(assigned_labels_weights=label_weights)

        with after_calls([self.assigner], note):
            yield

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Tensor | Sequence | None = None,
    ) -> dict[str, Tensor]:
        """See ``weighed_losses``."""
        return self.weighed_losses(
            (cls_scores, bbox_preds),
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )
