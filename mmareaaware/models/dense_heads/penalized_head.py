"""A background penalty for the heads of mmdet."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..label_weighting import LabelWeighting
from ..losses import add_ranks, share
from ..losses.bg_penalty_loss import (
    build_bg_penalty,
    count_background,
    outside_background,
)


class Matches(NamedTuple):
    """Which of the priors, or queries, of a batch are to find something."""

    positive: Tensor  # (B, N), bool
    ignored: Tensor  # (B, N), bool: those that are no background either
    mass: Tensor  # a scalar: what the classification loss is divided by


class PenalizedHeadMixin(LabelWeighting):
    """What size-aware heads on mmdet's share: ``area_weight`` and ``loss_bg``.

    Args:
        *args: Of the stock head.
        loss_bg: Config of the background penalty, ``dict(type='BgPenaltyLoss')``; None
            for none. With ``normalizer='positives'`` it is divided by what the
            classification loss is divided by.
        **kwargs: Of the stock head, and ``area_weight``, ``normalize``, ``strength`` as
            for ``mmareaaware.models.label_weighting.LabelWeighting``.

    Raises:
        ValueError: ``loss_bg`` is another loss, or a value is out of range.
    """

    def __init__(self, *args, loss_bg: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.loss_bg = build_bg_penalty(loss_bg)

    def penalize(
        self, logits: Callable[[], Tensor], matches: Matches
    ) -> dict[str, Tensor]:
        """The penalty on the background, and what there is to log of a step.

        Args:
            logits: Gives the logits of the scores that the head ranks by, (B, N, C).
                Not called where there is no penalty.
            matches: What is background, and what is not.

        Returns:
            ``num_pos``, and with a penalty ``loss_bg``, ``bg_penalty_mean``, ``_max``
            and ``_min``.
        """
        positive, ignored, mass = matches
        log = dict(num_pos=positive.sum(dtype=torch.float32))
        if self.loss_bg is None:
            return log
        if self.loss_bg.lambda_bg == 0:  # nothing is computed, and nothing changes
            return dict(loss_bg=mass.new_zeros(()), **log)
        targets = positive.float()
        if self.loss_bg.counts_background:
            mass = count_background(outside_background(targets, ignored))
        total = add_ranks(dict(mass=mass), sync=True)["mass"]
        loss, stats = self.loss_bg(
            logits(),
            targets,
            ignored=ignored,
            avg_factor=share(total, sync=True),
            return_stats=True,
        )
        return dict(loss_bg=loss, **stats, **log)
