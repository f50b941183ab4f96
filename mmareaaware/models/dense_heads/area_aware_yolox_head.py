"""mmyolo's YOLOX head with classes and objectness weighted by area."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmengine.registry import MODELS
from mmyolo.models import YOLOXHead
from torch import Tensor

from ..box_areas import box_areas
from ..given_weight import given_weight
from .flat_priors import Assigned, FlatPriorsMixin, Step, flat_maps


@MODELS.register_module()
class AreaAwareYOLOXHead(FlatPriorsMixin, YOLOXHead):
    r"""mmyolo's ``YOLOXHead`` with classes and objectness of positives by area.

    $$
    L_{obj} = \frac{1}{P} \sum_i w_i BCE(o_i, [i \in pos]), \quad L_{cls} =
    \frac{1}{P} \sum_{i \in pos} w_i \sum_c BCE(z_{ic}, t_{ic}), \quad w_i =
    \begin{cases} \varphi(A_i) & i \in pos \\ 1 & i \in bg \\ 0 & \text{ignored}
    \end{cases}
    $$

    with P the number of positives. The mean of the weights over the positives is 1
    (``normalize='mean'``). ``loss_bg`` penalises $\max_c \sigma(o_i)
    \sigma(z_{ic})$, the score that the head ranks by, and is divided by P too.
    """

    _found: list[tuple[Tensor, Tensor, Tensor]] | None = None

    @property
    def point_generator(self) -> MlvlPointGenerator:
        """The centres of the cells, by which the assigner goes; not their corners."""
        return MlvlPointGenerator(self.featmap_strides, offset=0.5)

    @contextmanager
    def weighing(self, step: Step) -> Iterator[None]:
        """All targets are there when objectness is called, and classes come after."""
        found = self._found = []

        def weight_of_objectness() -> Tensor | None:
            masks, areas, pred_areas = zip(*found, strict=True)
            targets = torch.stack(masks).float()
            where = targets.nonzero(as_tuple=True)
            self.note_assigned(
                step,
                Assigned(*where, torch.cat(areas), torch.cat(pred_areas), targets),
            )
            return None if step.weight is None else step.weight.view(-1, 1)

        def weight_of_classes() -> Tensor | None:
            return None if step.weights is None else step.weights.view(-1, 1)

        try:
            with (
                given_weight(self.loss_obj, weight_of_objectness),
                given_weight(self.loss_cls, weight_of_classes),
            ):
                yield
        finally:
            self._found = None

    def _get_targets_single(
        self, priors: Tensor, cls_preds: Tensor, decoded_bboxes: Tensor, *args
    ) -> tuple:
        """The targets of the stock head, of which the boxes are remembered."""
        targets = super()._get_targets_single(priors, cls_preds, decoded_bboxes, *args)
        if self._found is not None:
            is_positive, boxes = targets[0], targets[3]
            pred_boxes = decoded_bboxes[is_positive]
            areas = box_areas(boxes), box_areas(pred_boxes)
            self._found.append((is_positive, *areas))
        return targets

    def score_logits(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        objectnesses: Sequence[Tensor],
    ) -> Tensor:
        """Logits of objectness times class, (B, N, C), or of their maxima, (B, N, 1).

        Args:
            cls_scores: Of each level, (B, C, H, W).
            bbox_preds: Of each level.
            objectnesses: Of each level, (B, 1, H, W).
        """
        logits, objectness = flat_maps(cls_scores), flat_maps(objectnesses)
        return self.ranking_logits(logits, objectness)

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        objectnesses: Sequence[Tensor],
        batch_gt_instances: Tensor,
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Tensor | Sequence | None = None,
    ) -> dict[str, Tensor]:
        """See ``weighed_losses``."""
        return self.weighed_losses(
            (cls_scores, bbox_preds, objectnesses),
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )
