"""Soft targets of the few priors that have one."""

from typing import NamedTuple

from torch import Tensor


class SparseTargets(NamedTuple):
    """What an assigner found: P priors, each with a soft target for one class.

    Every other prior is background. No prior occurs twice.
    """

    image: Tensor  # (P,), int64
    prior: Tensor  # (P,), int64, within the image
    label: Tensor  # (P,), int64
    score: Tensor  # (P,), the soft target in [0, 1]

    def sums(self, num_imgs: int, num_priors: int) -> Tensor:
        """Targets summed over the classes, (B, N)."""
        sums = self.score.new_zeros(num_imgs, num_priors)
        return sums.index_put((self.image, self.prior), self.score)

    def dense(self, num_imgs: int, num_priors: int, num_classes: int) -> Tensor:
        """The targets as (B, N, C)."""
        targets = self.score.new_zeros(num_imgs, num_priors, num_classes)
        return targets.index_put((self.image, self.prior, self.label), self.score)
