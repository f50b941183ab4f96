"""From an area weight to the weights of the positives of a batch."""

from collections.abc import Callable, Mapping

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ..precision import at_least_float32
from .area_weights import TARGET_EPS, AreaWeight, Positives
from .ranks import add_ranks

NORMALIZATIONS = ("mean", "none")

AreaWeightLike = Callable[[Positives], Tensor]


class AreaWeighting:
    """Mixin that holds ``area_weight``, ``normalize`` and ``strength``, and weighs.

    Losses and heads have it, so that each of them is scheduled and reported alike.

    Attributes:
        area_weight: An area weight, or None for none.
        normalize: ``'mean'`` divides by the mean over the positives, each counted by
            its mass, which is 1 afterwards; ``'none'`` keeps the weights as they are.
    """

    area_weight: AreaWeightLike | None
    normalize: str

    def set_area_weight(
        self,
        area_weight: Mapping | AreaWeightLike | None,
        normalize: str,
        strength: float,
    ) -> None:
        """Build and check the settings.

        Args:
            area_weight: Config or instance of an area weight; None for none.
            normalize: ``'mean'`` or ``'none'``.
            strength: In [0, 1].

        Raises:
            ValueError: A value is unknown or out of range, or has nothing to act on.
        """
        if normalize not in NORMALIZATIONS:
            raise ValueError(
                f"normalize must be one of {NORMALIZATIONS}, got {normalize!r}"
            )
        self.area_weight = _build(area_weight)
        self.normalize = normalize
        self.strength = strength
        if self.area_weight is None and strength != 1:
            raise ValueError(
                f"strength={strength} fades an area weight, and area_weight is None: "
                "give one, or leave strength out"
            )

    @property
    def strength(self) -> float:
        """Fade between no weighting (0) and the full weight (1)."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"strength must be in [0, 1], got {value}")
        self._strength = value

    def weigh(
        self, positives: Positives, mass: Tensor, *, sync: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The weights of the positives of a batch.

        A head that has other sums to add up over the ranks calls ``phi`` and
        ``settle`` itself, and does all of it in one collective.

        Args:
            positives: What area weights may look at.
            mass: How much each counts in the mean: its soft target, its label weight,
                (P,).
            sync: Take the mean over all ranks instead of this one.

        Returns:
            The weights (P,), without gradient, and the mean of $\\varphi$, a
            scalar, 0 without positives.
        """
        mass = at_least_float32(mass)
        raw = self.phi(positives)
        sums = add_ranks(dict(mass=mass.sum(), phi=mass_of(raw, mass)), sync)
        mean = mean_of(sums["phi"], sums["mass"])
        return self.settle(raw, mean, mass), mean

    @torch.no_grad()
    def phi(self, positives: Positives) -> Tensor:
        """The weights (P,) as the area weight has them."""
        if self.area_weight is None:
            raise ValueError("there is no area weight to weigh with, got None")
        return self.area_weight(positives)

    @torch.no_grad()
    def settle(self, raw: Tensor, mean: Tensor, mass: Tensor) -> Tensor:
        """The weights (P,) with ``normalize`` and ``strength``; 1 without a mass.

        Args:
            raw: From ``phi``, (P,).
            mean: From ``mean_of``, a scalar.
            mass: As for ``weigh``.
        """
        weights = raw
        if self.normalize == "mean":
            weights = weights / mean.clamp(min=torch.finfo(mean.dtype).tiny)
        if self.strength < 1:
            weights = 1 + self.strength * (weights - 1)
        return weights.masked_fill(mass < TARGET_EPS, 1)


def mass_of(weights: Tensor, mass: Tensor) -> Tensor:
    """What the mass (P,) of the positives is with weights (P,), a scalar."""
    return (weights * mass.detach()).sum()


def mean_of(weighted: Tensor, total: Tensor) -> Tensor:
    """The mean weight: from the mass with weights and the mass without, scalars."""
    return weighted / total.detach().clamp(min=TARGET_EPS)


def _build(area_weight: Mapping | AreaWeightLike | None) -> AreaWeightLike | None:
    if isinstance(area_weight, Mapping):
        name = area_weight.get("type")
        if isinstance(name, str) and TASK_UTILS.get(name) is None:
            known = [cls.__name__ for cls in AreaWeight.__subclasses__()]
            raise ValueError(
                f"area_weight.type={name!r} is not registered; there are "
                f"{', '.join(known)}, and what your custom_imports register"
            )
        built = TASK_UTILS.build(dict(area_weight))
        is_valid = isinstance(built, AreaWeight)
    else:
        built = area_weight
        is_valid = built is None or callable(built)
    if not is_valid:
        raise ValueError(
            "area_weight must be None, an area weight or its config, for example "
            f"dict(type='PowerAreaWeight'), got {area_weight!r}"
        )
    return built
