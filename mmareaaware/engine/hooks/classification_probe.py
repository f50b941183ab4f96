"""Listens to a classification loss: how sure is it of foreground and background?"""

import torch
from torch import Tensor, nn

from ...models.losses import SparseLogits, SparseTargets
from ...models.losses.area_weights import TARGET_EPS


class ClassificationProbe:
    """Adds up the scores that a classification loss sees, until it is closed.

    Understands mmdet's losses on integer labels, sigmoid and softmax, and losses on
    soft targets, dense or sparse, whatever the head.

    Args:
        loss_cls: The loss module to listen to.

    Attributes:
        sums: Sum of the score of the right class over the positives, their number, sum
            of the highest score over the negatives, and their number, (4,).
        calls: How often the loss was called.
    """

    def __init__(self, loss_cls: nn.Module) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64)
        self.calls = 0
        self._handle = loss_cls.register_forward_pre_hook(
            self._listen, with_kwargs=True
        )

    def close(self) -> None:
        """Stop listening."""
        self._handle.remove()

    @torch.no_grad()
    def _listen(self, loss_cls: nn.Module, args: tuple, kwargs: dict) -> None:
        if kwargs.get("reduction_override") == "none":
            return  # OHEM ranks samples with the loss before it picks some
        self.calls += 1
        logits, targets, *rest = args
        if getattr(loss_cls, "activated", False):  # TOOD's takes probabilities
            logits = logits.logit()
        if isinstance(targets, tuple) and not isinstance(targets, SparseTargets):
            targets = targets[0]  # quality focal loss: labels and their quality
        weight = rest[0] if rest else kwargs.get("weight")
        if isinstance(targets, SparseTargets):
            scores = _scores_of_sparse(logits, targets, weight)
        elif targets.dim() == logits.dim():
            scores = _scores_of_soft(logits, targets, weight)
        else:
            scores = _scores_of_labels(loss_cls, logits, targets, weight)
        fg, bg = scores
        sums = [fg.sum(), fg.new_tensor(len(fg)), bg.sum(), bg.new_tensor(len(bg))]
        self.sums = self.sums.to(fg.device) + torch.stack(sums).double()


def _scores_of_labels(
    loss_cls: nn.Module, logits: Tensor, labels: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Of logits (N, C) or, for softmax, (N, C + 1), and labels (N,)."""
    activate = getattr(loss_cls, "get_activation", None)  # Seesaw's has objectness too
    if activate is not None:
        scores = activate(logits.float())[:, :-1]
    elif loss_cls.use_sigmoid:
        scores = logits.float().sigmoid()
    else:
        scores = logits.float().softmax(1)[:, :-1]
    counts = labels >= 0
    if weight is not None:
        counts = counts & (weight > 0)
    is_fg = labels < scores.size(1)
    fg = counts & is_fg
    return scores[fg, labels[fg]], scores[counts & ~is_fg].amax(1)


def _scores_of_soft(
    logits: Tensor, targets: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Of logits and soft targets, (..., C), and a weight, (...) or (..., C)."""
    is_fg = targets.sum(-1) >= TARGET_EPS
    is_bg = ~is_fg
    if weight is not None:
        is_bg &= (weight > 0) if weight.dim() == is_bg.dim() else (weight > 0).any(-1)
    label = targets[is_fg].argmax(-1, keepdim=True)
    fg = logits[is_fg].gather(1, label)[:, 0]
    return fg.float().sigmoid(), logits[is_bg].amax(1).float().sigmoid()


def _scores_of_sparse(
    logits: SparseLogits, targets: SparseTargets, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    is_bg = torch.ones_like(logits.dense[..., 0], dtype=torch.bool)  # (B, N)
    if weight is not None:
        is_bg &= weight > 0  # ignored priors have none
    is_bg[targets.image, targets.prior] = False
    return logits.labels.sigmoid(), logits.dense[is_bg].amax(1).float().sigmoid()
