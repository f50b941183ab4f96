"""From the weights of positives to one for each prior."""

from collections.abc import Sequence

from torch import Tensor


def weight_of_priors(
    like: Tensor,
    shape: Sequence[int],
    positives: tuple[Tensor, ...],
    weights: Tensor | None,
    ignored: Tensor | None,
    background: Tensor | None = None,
) -> Tensor | None:
    """The weight of each prior: 0 where ignored.

    Args:
        like: Of the dtype and device of the result.
        shape: Of the priors, (B, ...).
        positives: Where the P positives are, to index priors with.
        weights: Of the positives, (P,); None for 1.
        ignored: Priors that are left out, (B, ...) bool; None for none.
        background: Of all others, (B, ...); None for 1.

    Returns:
        (B, ...); None where all are 1.
    """
    if weights is None and ignored is None and background is None:
        return None
    weight = like.new_ones(shape) if background is None else background.to(like.dtype)
    if weights is not None:
        weight = weight.index_put(positives, weights.to(weight.dtype))
    return weight if ignored is None else weight.masked_fill(ignored, 0)
