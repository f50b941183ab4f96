"""What the size-aware heads with priors on pyramid levels share."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from ..box_areas import box_areas
from ..boxes_of_images import flat_ignored
from ..losses import Positives, foreground_logits, joint_logits
from ..precision import at_least_float32
from ..task_modules import PriorGrid
from .box_voting import BoxVotingMixin
from .penalized_head import Matches, PenalizedHeadMixin


@dataclass
class Step:
    """One computation of the losses: what went in, and what came out by the way."""

    maps: Sequence[Sequence[Tensor]]  # class scores, boxes, and score factors if any
    image_area: int | None  # of the network input, in px²
    ignored: Sequence | None  # InstanceData or None, one per image
    matches: Matches | None = None
    weights: Tensor | None = None  # (B, N), where they are not those of the stock head

    @classmethod
    def begin(cls, arguments: Mapping) -> "Step":
        """From the arguments of ``loss_by_feat``."""
        maps = [arguments[name] for name in _names_of_maps(arguments)]
        height, width = arguments["batch_img_metas"][0].get(
            "batch_input_shape", (None, None)
        )
        area = height and height * width
        return cls(maps, area, arguments.get("batch_gt_instances_ignore"))


class AreaAwareDenseHeadMixin(BoxVotingMixin, PenalizedHeadMixin):
    r"""Put a mixin of this kind before a dense head of mmdet.

    The label weight of a positive is multiplied by $\varphi(A)$, A the area of
    its matched box; background keeps its weight, exactly. Box losses and centerness,
    which are learned at positives alone and say where and not what, keep theirs. With
    no area weight and no ``loss_bg`` the losses and gradients are those of the stock
    head, bit for bit. (In half precision they are computed in float32, which stock
    does in parts.)

    ``loss_bg`` penalises the score that the head ranks by, see ``score_logits``, on
    all priors that the classification loss counts as background.

    A head says in ``get_targets`` what its targets are, by ``weigh_levels``;
    there may be more to say in ``decode_positives``, ``points_of`` and
    ``score_logits``.

    Attributes:
        leaves_out_ignored: Whether background inside of ignored boxes is taken out of
            the losses here. For heads with one prior at each point whose assigners know
            nothing of ignored boxes; those of the others do it, if the recipe says so
            (``ignore_iof_thr``).
    """

    leaves_out_ignored = False
    _step: Step | None = None

    def loss_by_feat(self, *args, **kwargs) -> dict:
        """The losses of the stock head, the penalty, and numbers for the log.

        Beside the losses there are ``num_pos`` and, with an area weight,
        ``area_weight_mean``; with a penalty ``bg_penalty_mean``, ``_max``, ``_min``.
        """
        of_stock = super().loss_by_feat
        arguments = inspect.signature(of_stock).bind(*args, **kwargs).arguments
        _widen(arguments)
        step = self._step = Step.begin(arguments)
        try:
            losses = of_stock(**arguments)
        finally:
            self._step = None
        if step.matches is None:
            raise RuntimeError(
                f"{type(self).__name__} never called weigh_levels: override the method "
                "in which its stock head makes the targets of the classification loss"
            )
        added = self.penalize(lambda: self.score_logits(*step.maps), step.matches)
        return losses | added | self.pop_area_weight_mean()

    def weigh_levels(
        self,
        labels: Sequence[Tensor],
        label_weights: Sequence[Tensor],
        areas: Sequence[Tensor],
        priors: Sequence[Tensor],
        mass: Sequence[Tensor] | None = None,
    ) -> Sequence[Tensor]:
        """The label weights of the levels, with φ; a loss remembers the targets.

        Args:
            labels: The class of each prior, ``num_classes`` for none, (B, N_l) a level.
            label_weights: As the stock head has them, (B, N_l) a level.
            areas: Of the matched boxes in px², (B, N_l) a level; of no meaning where
                there is none.
            priors: (N_l, ·) or (B, N_l, ·) a level.
            mass: What each prior adds to the divisor of the classification loss, (B,
                N_l) a level; by default 1 for a positive, 0 for background.

        Returns:
            (B, N_l) a level; the very same where there is nothing to weigh.
        """
        numbers = [level.size(1) for level in labels]
        joint = torch.cat(list(labels), 1)
        weights = torch.cat(list(label_weights), 1)
        positive = (joint >= 0) & (joint < self.num_classes)
        ignored = (weights == 0) & ~positive
        covered = self._covered(priors, len(joint))
        if covered is not None:
            ignored = ignored | (covered & ~positive)
            weights = weights.masked_fill(ignored, 0)
        if self.area_weight is not None:
            where = positive.nonzero(as_tuple=True)
            positives = self._positives(where, torch.cat(list(areas), 1), priors)
            new = self.weigh_labels(weights[where], positives)
            weights = weights.index_put(where, new)
        is_stock = self.area_weight is None and covered is None
        if self._step is not None:
            shares = positive if mass is None else torch.cat(list(mass), 1)
            total = shares.sum(dtype=torch.float32)
            self._step.matches = Matches(positive, ignored, total)
            self._step.weights = None if is_stock else weights
        return label_weights if is_stock else weights.split(numbers, 1)

    def decode_positives(
        self, preds: Tensor, priors: Tensor, strides: Tensor
    ) -> Tensor:
        """The boxes (P, 4) in px that were predicted.

        Args:
            preds: As the network has them, (P, ·).
            priors: (P, ·).
            strides: In px, (P, 1).
        """
        return self.bbox_coder.decode(priors, preds)

    def points_of(self, priors: Tensor) -> Tensor:
        """The points (N_l, 2) in px whose place in an ignored box counts."""
        return priors[:, :2]

    def score_logits(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        score_factors: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Logits of what the head ranks its boxes by.

        The class score, times centerness or objectness where the head has one; of a
        softmax, 1 − p(background), which no class score exceeds.

        Args:
            cls_scores: Of each level, (B, A·C, H, W).
            bbox_preds: Of each level, (B, A·size, H, W).
            score_factors: Logits of the factors, (B, A, H, W) a level.

        Returns:
            (B, N, C), or (B, N, 1) where one number says all.
        """
        logits = flatten_maps(cls_scores, self.cls_out_channels)
        if not self.use_sigmoid_cls:
            return foreground_logits(logits)
        if self.loss_bg.mode == "max":  # of the products too
            logits = logits.max(-1, keepdim=True).values
        if score_factors is not None:
            logits = joint_logits(logits, flatten_maps(score_factors, 1))
        return logits

    def _covered(self, priors: Sequence[Tensor], num_imgs: int) -> Tensor | None:
        """Which priors (B, N) lie in ignored boxes; None where there are none."""
        if not self.leaves_out_ignored or self._step is None:
            return None
        flat = flat_ignored(self._step.ignored)
        if flat is None:
            return None
        images, boxes = flat
        sizes = [tuple(level.shape[2:]) for level in self._step.maps[0]]
        points = [self.points_of(level) for level in priors]
        return PriorGrid(points, sizes).covered(boxes, images, num_imgs)

    @torch.no_grad()
    def _positives(
        self, where: tuple[Tensor, Tensor], areas: Tensor, priors: Sequence[Tensor]
    ) -> Positives:
        """What area weights may look at, of P priors of a batch."""
        image, prior = where
        level_strides = [stride[0] for stride in self.prior_generator.strides]
        levels = [get_box_tensor(level) for level in priors]
        strides = torch.cat(
            [
                areas.new_full((level.size(-2),), stride)
                for level, stride in zip(levels, level_strides, strict=True)
            ]
        )[prior]
        pred_areas = None
        if self._step is not None:
            joint = torch.cat(levels, -2)
            own = joint[prior] if joint.dim() == 2 else joint[image, prior]
            preds = torch.cat(
                [
                    level.permute(0, 2, 3, 1).reshape(len(level), num.size(-2), -1)
                    for level, num in zip(self._step.maps[1], levels, strict=True)
                ],
                1,
            )  # (B, N, ·)
            boxes = self.decode_positives(
                preds[image, prior], own, strides.unsqueeze(1)
            )
            pred_areas = box_areas(boxes).float()
        return Positives(
            areas=areas[where],
            pred_areas=pred_areas,
            strides=strides,
            level_strides=level_strides,
            image_area=None if self._step is None else self._step.image_area,
        )


def _names_of_maps(arguments: Mapping) -> list[str]:
    """Of the arguments of ``loss_by_feat``, by name, what comes of the network."""
    names = list(arguments)
    return names[: names.index("batch_gt_instances")]


def _widen(arguments: dict) -> None:
    for name in _names_of_maps(arguments):
        arguments[name] = [at_least_float32(level) for level in arguments[name]]


def flatten_maps(maps: Sequence[Tensor], size: int) -> Tensor:
    """(B, N, size) from maps (B, A·size, H, W), level after level."""
    return torch.cat(
        [level.permute(0, 2, 3, 1).reshape(len(level), -1, size) for level in maps], 1
    )
