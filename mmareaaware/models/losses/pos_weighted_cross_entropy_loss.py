"""Cross-entropy of two-stage detectors in which foreground counts more."""

from collections.abc import Sequence

import torch
from mmdet.models.losses import CrossEntropyLoss
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class PosWeightedCrossEntropyLoss(CrossEntropyLoss):
    r"""mmdet's ``CrossEntropyLoss`` with a weight on foreground.

    Labels follow mmdet: foreground is 0 ≤ label < C, background the **last** label C;
    the number of classes is read off the logits. The sigmoid form (RPN, one logit a
    class) weighs the positive term of each logit, the softmax form (RoI head, C + 1
    logits) the samples whose label is foreground. With ``pos_weight=1`` it is mmdet's
    loss bit for bit.

    Args:
        pos_weight: Weight of foreground; background has 1.
        avg_by_weight: Divide by the sum of the weights instead of ``avg_factor``, which
            the two-stage heads set to the number of samples.
        use_sigmoid: Sigmoid form; False for softmax.
        class_weight: Weights of the C foreground classes besides, or of all C + 1.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``.
        loss_weight: Gain.
        **kwargs: ``ignore_index`` and ``avg_non_ignore``, as in mmdet.

    Raises:
        ValueError: A weight is out of range, or ``use_mask`` is asked for.
    """

    def __init__(
        self,
        pos_weight: float = 1.0,
        avg_by_weight: bool = False,
        use_sigmoid: bool = False,
        class_weight: Sequence[float] | None = None,
        reduction: str = "mean",
        loss_weight: float = 1.0,
        **kwargs,
    ) -> None:
        if not 0 < pos_weight < float("inf"):
            raise ValueError(f"pos_weight must be positive, got {pos_weight}")
        if not all(0 <= weight < float("inf") for weight in class_weight or ()):
            raise ValueError(
                f"class_weight must be finite and not negative, got {class_weight}"
            )
        if avg_by_weight and reduction != "mean":
            raise ValueError(
                "avg_by_weight=True goes with reduction='mean' only, got "
                f"reduction={reduction!r}"
            )
        if kwargs.get("use_mask"):
            raise ValueError(
                "the mask loss has no background to weigh against: use_mask=True "
                "goes with mmdet's CrossEntropyLoss"
            )
        super().__init__(
            use_sigmoid=use_sigmoid,
            class_weight=class_weight,
            reduction=reduction,
            loss_weight=loss_weight,
            **kwargs,
        )
        self.pos_weight = pos_weight
        self.avg_by_weight = avg_by_weight

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
        **kwargs,
    ) -> Tensor:
        """The loss of N samples.

        Args:
            cls_score: Logits, (N, C) for sigmoid, (N, C + 1) for softmax.
            label: (N,), in 0...C.
            weight: Of the samples, (N,).
            avg_factor: What the sum is divided by; None for N.
            reduction_override: Instead of ``reduction``.
            ignore_index: Label of samples that do not count.
            **kwargs: As in mmdet.

        Returns:
            A scalar, or (N,) or (N, C) with ``'none'``. 0 where N is 0.

        Raises:
            ValueError: ``class_weight`` does not fit the logits.
        """
        reduction = reduction_override or self.reduction
        if cls_score.numel() == 0 and reduction == "mean":
            return cls_score.sum() * 0
        class_weights = self._class_weights(cls_score)
        if ignore_index is None:
            ignore_index = self.ignore_index
        if self.avg_by_weight and reduction == "mean":
            avg_factor = self._total_weight(
                cls_score, label, weight, class_weights, ignore_index
            )
        return self.loss_weight * self.cls_criterion(
            cls_score,
            label,
            weight,
            class_weight=class_weights,
            reduction=reduction,
            avg_factor=avg_factor,
            ignore_index=ignore_index,
            avg_non_ignore=self.avg_non_ignore,
            **kwargs,
        )

    def _class_weights(self, cls_score: Tensor) -> Tensor | None:
        """One weight a logit; None where all are 1."""
        if self.pos_weight == 1 and self.class_weight is None:
            return None
        channels = cls_score.size(-1)
        num_fg = channels if self.use_sigmoid else channels - 1
        weights = cls_score.new_ones(channels)
        if self.class_weight is not None:
            if len(self.class_weight) not in (num_fg, channels):
                raise ValueError(
                    f"class_weight has {len(self.class_weight)} entries for {num_fg} "
                    f"foreground classes: {list(self.class_weight)}"
                )
            given = cls_score.new_tensor(self.class_weight)
            weights[: len(given)] = given
        weights[:num_fg] *= self.pos_weight
        return weights

    def _total_weight(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None,
        class_weights: Tensor | None,
        ignore_index: int | None,
    ) -> Tensor:
        """Sum over the samples that count of what they are multiplied with, at least 1.

        In the sigmoid form a sample has the weight of its label, background 1.
        """
        counts = label >= 0
        if ignore_index is not None:
            counts = counts & (label != ignore_index)
        weights = counts.to(cls_score.dtype)
        if weight is not None:
            weights = weights * weight
        if class_weights is not None:
            table = torch.cat([class_weights, class_weights.new_ones(1)])
            weights = weights * table[label.clamp(0, len(table) - 1)]
        return weights.sum().clamp(min=1)

    def extra_repr(self) -> str:
        """The settings, as ``print(model)`` shows them."""
        return f"pos_weight={self.pos_weight}, {super().extra_repr()}"
