"""An area weight that changes nothing, for tests of what area weights are told."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmareaaware.models import Positives


def noting(seen: list[Positives]) -> Callable[[Positives], Tensor]:
    """It puts what it is given into a list."""

    def weight(positives: Positives) -> Tensor:
        seen.append(positives)
        return torch.ones_like(positives.areas)

    return weight
