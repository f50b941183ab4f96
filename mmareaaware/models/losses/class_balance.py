"""Class weights and margins from how often each class occurs in the training set."""

from collections.abc import Sequence

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class EffectiveNumberWeight:
    r"""Class weights by the effective number of samples, rescaled to mean 1.

    $$
    a_c \propto (1 - \beta) / (1 - \beta^{n_c})
    $$

    [Class-Balanced Loss Based on Effective Number of
    Samples](https://arxiv.org/abs/1901.05555) (Cui et al. 2019).

    Args:
        beta: In [0, 1). 0 gives equal weights, towards 1 inverse frequency.

    Raises:
        ValueError: ``beta`` is outside [0, 1).
    """

    def __init__(self, beta: float = 0.999) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"beta must be in [0, 1), got {beta}")
        self.beta = beta

    def __call__(self, counts: Sequence[int]) -> Tensor:
        """Class weights (C,) from class counts (C,)."""
        weights = (1 - self.beta) / (1 - self.beta ** _at_least_one(counts))
        return (weights / weights.mean()).float()


@TASK_UTILS.register_module()
class InverseFrequencyWeight:
    r"""Class weights $a_c \propto n_c^{-power}$, rescaled to mean 1.

    Args:
        power: 0 gives equal weights, 1 the plain inverse frequency.

    Raises:
        ValueError: ``power`` is negative.
    """

    def __init__(self, power: float = 0.5) -> None:
        if not power >= 0:
            raise ValueError(f"power must not be negative, got {power}")
        self.power = power

    def __call__(self, counts: Sequence[int]) -> Tensor:
        """Class weights (C,) from class counts (C,)."""
        weights = _at_least_one(counts) ** -self.power
        return (weights / weights.mean()).float()


@TASK_UTILS.register_module()
class LDAMMargin:
    r"""Label-distribution-aware margins: the rarer a class, the wider its margin.

    $$
    m_c = m_{max} \cdot n_c^{-1/4} / \max_k n_k^{-1/4}
    $$

    [Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss](https://arxiv.org/abs/1906.07413) (Cao et al. 2019).

    Args:
        max_margin: Margin of the rarest class, in logits.

    Raises:
        ValueError: ``max_margin`` is negative.
    """

    def __init__(self, max_margin: float = 0.5) -> None:
        if not max_margin >= 0:
            raise ValueError(f"max_margin must not be negative, got {max_margin}")
        self.max_margin = max_margin

    def __call__(self, counts: Sequence[int]) -> Tensor:
        """Margins (C,) from class counts (C,)."""
        margins = _at_least_one(counts) ** -0.25
        return (self.max_margin * margins / margins.max()).float()


def _at_least_one(counts: Sequence[int]) -> Tensor:
    """Counts as float64, a class that never occurs taken as one that occurs once."""
    return torch.as_tensor(counts, dtype=torch.float64).clamp(min=1)
