"""What the size-aware heads on mmdet's share: positives' label weights times φ(A)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .losses import AreaWeighting, Positives
from .losses.weighting import AreaWeightLike


class LabelWeighting(AreaWeighting):
    r"""Mixin of heads whose classification loss takes label weights.

    The label weight of a positive is multiplied by $\varphi(A)$, A the area of
    its matched box in px² of the network input; background keeps its weight, and so do
    the box losses and every number that a loss is divided by. Any loss that honours
    label weights, mmdet's included, is size-aware then.

    Args:
        *args: Of the stock head.
        area_weight: Config or instance of an area weight,
            ``dict(type='PowerAreaWeight')``; None for the stock head.
        normalize: ``'mean'``: the mean of the weights over the positives, of all ranks,
            is 1; ``'none'``: $\varphi$ as it is.
        strength: In [0, 1]; may be set during training by ``LossParamSchedulerHook``.
        **kwargs: Of the stock head.

    Raises:
        ValueError: A value is unknown or out of range.
    """

    def __init__(
        self,
        *args,
        area_weight: Mapping | AreaWeightLike | None = None,
        normalize: str = "mean",
        strength: float = 1.0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.set_area_weight(area_weight, normalize, strength)
        self._area_weight_mean: Tensor | None = None

    def weigh_labels(self, label_weights: Tensor, positives: Positives) -> Tensor:
        """Label weights of the positives of a batch, by area.

        Args:
            label_weights: As the stock head has them, (P,).
            positives: What the area weight may look at.

        Returns:
            (P,), above 0 also where φ is 0: heads count their samples by
            ``label_weights > 0``.
        """
        weights, self._area_weight_mean = self.weigh(
            positives, label_weights, sync=True
        )
        return (label_weights * weights).clamp(min=torch.finfo(weights.dtype).tiny)

    def pop_area_weight_mean(self) -> dict[str, Tensor]:
        """The mean raw weight of the last positives, for the log; empty without."""
        mean, self._area_weight_mean = self._area_weight_mean, None
        return {} if mean is None else dict(area_weight_mean=mean)
