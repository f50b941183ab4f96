"""How much of the box losses an object has, whatever the number of its positives."""

import torch
from torch import Tensor

from ..losses.area_weights import TARGET_EPS
from ..task_modules import SparseTaskAlignedAssigner
from .yolo_matching import Matched


def check_balance(value: float, assigner: object | None) -> None:
    """Whether a head can have it.

    Args:
        value: Exponent of `object_weights`.
        assigner: Of the head; None of one that is only tested.

    Raises:
        ValueError: It is no such exponent, or the assigner does not say which box each
            positive is to find.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"balance_objects must be in [0, 1], got {value}")
    if value and not isinstance(assigner, SparseTaskAlignedAssigner | None):
        raise ValueError(
            f"balance_objects={value} needs an assigner that says which box each prior "
            "is to find: set train_cfg.assigner.type='SparseTaskAlignedAssigner'"
        )


@torch.no_grad()
def object_weights(matched: Matched, balance: float) -> Tensor:
    r"""Weights by which a small object, which has few positives, is not outvoted.

    $$
    v_i = T_{o(i)}^{-\alpha}, \quad T_o = \sum_{i \in o} t_i
    $$

    With $\alpha = 1$ and soft targets t as weights, each object has the same
    part of a sum over its positives.

    Args:
        matched: With P positives, from a sparse assigner.
        balance: $\alpha$, in [0, 1].

    Returns:
        (P,), see `even`.
    """
    score = matched.targets.score
    totals = score.new_zeros(matched.num_boxes).index_add(0, matched.box_index, score)
    return totals.clamp(min=TARGET_EPS)[matched.box_index] ** -balance


def even(weights: Tensor, weighted: Tensor, total: Tensor) -> Tensor:
    """The weights (P,) divided by their mean over all positives, by target.

    Args:
        weights: From `object_weights`.
        weighted: Sum of the targets with these weights, a scalar.
        total: Without.
    """
    return weights * (total / weighted.clamp(min=TARGET_EPS))
