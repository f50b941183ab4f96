"""How far the boxes of a batch are believed, where a teacher drew them."""

from typing import NamedTuple

from torch import Tensor

from .yolo_matching import Matched


class BoxTrust(NamedTuple):
    """What the boxes of a batch count, each (G,); None for 1, as of true boxes."""

    targets: Tensor | None = None  # factor of the soft targets of a box's positives
    cls: Tensor | None = None  # of their weight in the classification loss
    box: Tensor | None = None  # of their weight in the box losses
    # The losses are divided by no less than this (a scalar, this rank's share), so that
    # a batch in which next to nothing was found counts no more than one of true boxes.
    least_sum: Tensor | None = None

    def apply(self, matched: Matched) -> tuple[Matched, "BoxTrust"]:
        """Scale the targets, and say how far the positives are believed, (P,).

        Raises:
            ValueError: Nothing says which box each positive is to find.
        """
        factors = self[:3]
        if all(factor is None for factor in factors):
            return matched, self
        if matched.box_index is None:
            raise ValueError(
                "boxes that are believed in part need an assigner that says which of "
                "them each prior is to find: set "
                "train_cfg.assigner.type='SparseTaskAlignedAssigner'"
            )
        at = matched.box_index
        trust = BoxTrust(*(f if f is None else f[at] for f in factors), self.least_sum)
        if trust.targets is not None:
            score = matched.targets.score * trust.targets
            targets = matched.targets._replace(score=score)
            matched = matched._replace(targets=targets, target_sum=score.sum())
        return matched, trust

    def floor(self, target_sum: Tensor) -> Tensor:
        """What to divide by: the sum of the targets, but no less than the least."""
        least = self.least_sum
        return target_sum if least is None else target_sum.maximum(least)


TRUE_BOXES = BoxTrust()


def times(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The product of two weights, of which None is 1."""
    if a is None or b is None:
        return b if a is None else a
    return a * b
