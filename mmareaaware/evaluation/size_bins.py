"""The bins of object sizes that metrics have."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Names of the bins and the sides in pixels between them
PRESETS = {
    "coco": (("s", "m", "l"), (32, 96)),
    "aitod": (("vt", "t", "s", "m", "l"), (8, 16, 32, 64)),
}


def bins_and_edges(
    size_bins: str | Sequence[float], relative: bool
) -> tuple[list[str], list[float]]:
    """Names of the bins, and the sides between them.

    Args:
        size_bins: A preset, or the edges.
        relative: The edges are parts of the root of the area of the image.

    Raises:
        ValueError: A preset that there is not, or edges that do not increase.
    """
    if isinstance(size_bins, str):
        if size_bins not in PRESETS or relative:
            raise ValueError(
                f"size_bins must be one of {list(PRESETS)}, or edges (always so where "
                f"relative=True), got {size_bins!r} and relative={relative}"
            )
        bins, edges = PRESETS[size_bins]
        return list(bins), list(edges)
    edges = list(size_bins)
    end = 1 if relative else 1e5
    if not edges or any(lo >= hi for lo, hi in pairwise((0, *edges, end))):
        raise ValueError(
            f"the edges in size_bins must increase between 0 and {end:g}, got {edges} "
            f"and relative={relative}"
        )
    return [f"{lo:g}-{hi:g}" for lo, hi in pairwise((0, *edges, np.inf))], edges
