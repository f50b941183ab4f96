"""Is a teacher's box good enough to be learnt, or only its class?"""

from abc import ABC, abstractmethod

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor


class BoxQuality(ABC):
    """Decides about boxes one by one."""

    @abstractmethod
    def __call__(self, dists: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Which boxes may take part in the box losses, (K,), bool.

        Args:
            dists: Logits of the distances to the sides, (K, 4, reg_max).
            boxes: Decoded, xyxy in px, (K, 4).
            strides: Of their priors in px, (K,).
        """


@TASK_UTILS.register_module()
class DistributionSharpness(BoxQuality):
    r"""The distances to the sides are certain, measured against the size of the box.

    The loss that distances are trained with puts the target on the two bins next to it,
    shares f and 1 − f, whose variance is f (1 − f). What a distribution has beyond
    that, it does not know: the spread of a side is

    $$
    \sqrt{\max(Var - f (1 - f), 0)} \cdot stride
    $$

    and a box passes when the mean spread of left and right is at most ``max_spread`` of
    its width, and that of top and bottom of its height. That a distribution tells the
    quality of its box is the finding of [generalized focal loss
    v2](https://arxiv.org/abs/2011.12885).

    Args:
        max_spread: As a share of the side.

    Raises:
        ValueError: It is not positive.
    """

    def __init__(self, max_spread: float = 0.1) -> None:
        if not max_spread > 0:
            raise ValueError(f"max_spread must be positive, got {max_spread}")
        self.max_spread = max_spread

    def __call__(self, dists: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """See ``BoxQuality``."""
        p = dists.softmax(-1)  # (K, 4, reg_max)
        bins = torch.arange(p.size(-1), dtype=p.dtype, device=p.device)
        mean = (p * bins).sum(-1)  # (K, 4), in strides
        variance = (p * (bins - mean.unsqueeze(-1)) ** 2).sum(-1)
        f = mean.frac()
        spread = (variance - f * (1 - f)).clamp(min=0).sqrt() * strides[:, None]
        along = spread.unflatten(1, (2, 2)).mean(1)  # (K, 2): x, y
        return (along <= self.max_spread * (boxes[:, 2:] - boxes[:, :2])).all(1)
