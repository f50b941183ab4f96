"""Weights for a loss that a stock head calls without any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def given_weight(loss: nn.Module, weight: Callable[[], Tensor | None]) -> Iterator:
    """Within, each call of a loss is given a weight that its caller does not know of.

    So a head is size-aware although the stock head, whose code it runs, has no label
    weights; any loss with a ``weight``, all of mmdet's, can be such a loss.

    Args:
        loss: The module.
        weight: Says the weight of the rows of the call, of a shape that the loss
            takes; None for a call as it is.
    """

    def give(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        value = weight()
        return None if value is None else (args, dict(kwargs, weight=value))

    handle = loss.register_forward_pre_hook(give, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
