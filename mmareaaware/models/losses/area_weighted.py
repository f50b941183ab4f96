"""The three settings of the weighting by area, for losses and heads that have it."""

from collections.abc import Mapping
from types import MappingProxyType

from mmengine.registry import TASK_UTILS
from torch import Tensor

from .area_weights import AreaWeight, weigh_priors

NORMALIZATIONS = ("mean", "none")
DEFAULT_AREA_WEIGHT = MappingProxyType(dict(type="PowerAreaWeight"))


class AreaWeighted:
    """Holds ``area_weight``, ``normalize`` and ``strength``, and checks them."""

    def set_area_weight(
        self,
        area_weight: Mapping | AreaWeight | None,
        normalize: str,
        strength: float,
    ) -> None:
        """Build and check the settings.

        Args:
            area_weight: Config or instance of an area weight; None for none.
            normalize: ``'mean'`` or ``'none'``.
            strength: In [0, 1].

        Raises:
            ValueError: A value is unknown or out of range.
        """
        if normalize not in NORMALIZATIONS:
            raise ValueError(
                f"normalize must be one of {NORMALIZATIONS}, got {normalize!r}"
            )
        self.area_weight = _build(area_weight)
        self.normalize = normalize
        self.strength = strength

    def weigh(
        self, target_sums: Tensor, areas: Tensor, *, sync: bool, **geometry
    ) -> tuple[Tensor, Tensor]:
        """See :func:`~mmareaaware.models.losses.weigh_priors`, with these settings."""
        return weigh_priors(
            self.area_weight,
            target_sums,
            areas,
            normalize=self.normalize,
            strength=self.strength,
            sync=sync,
            **geometry,
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


def _build(area_weight: Mapping | AreaWeight | None) -> AreaWeight | None:
    if isinstance(area_weight, Mapping):
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
