"""Scores shifted by the size of the predicted box, after training."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..losses.area_weights import MIN_AREA

SIDES = (8.0, 16.0, 32.0, 64.0, 128.0)


@MODELS.register_module()
class SizeScoreShift(nn.Module):
    r"""Adds to class logits a function of the area of the predicted box.

    $$
    z'_c = z_c + s(\log_2 \sqrt{A})
    $$

    with $s$ linear between the sides, constant beyond the first and the last. A
    network is trained without it. ``tools/analysis/fit_score_shift.py`` fits
    ``shifts``, which are saved with the network, so that a score means the same
    precision whatever the size. As long as all are 0 it changes no bit.

    A checkpoint without it leaves all at 0.

    Args:
        sides: Roots of areas in px of the network input, increasing: where the shifts
            stand.

    Raises:
        ValueError: The sides are fewer than two, not positive or not increasing; when
            a checkpoint is loaded, that its shifts stand at other sides.
    """

    def __init__(self, sides: Sequence[float] = SIDES) -> None:
        super().__init__()
        is_increasing = all(low < high for low, high in pairwise(sides))
        if len(sides) < 2 or sides[0] <= 0 or not is_increasing:
            raise ValueError(
                "sides must be at least two positive numbers, increasing, such as "
                f"{SIDES}; got {tuple(sides)}"
            )
        self.register_buffer("sides", torch.tensor(sides, dtype=torch.float32))
        self.register_buffer("shifts", torch.zeros(len(sides)))
        self.num_sides = len(sides)

    def forward(self, logits: Tensor, areas: Tensor) -> Tensor:
        """Shift the logits of a feature map.

        Args:
            logits: Of the classes, (B, C, H, W).
            areas: Of the predicted boxes in px² of the network input, (B, H, W).

        Returns:
            Logits of the same shape and dtype.
        """
        return logits + self.at(areas)[:, None].to(logits.dtype)

    def at(self, areas: Tensor) -> Tensor:
        """The shifts (...) of areas (...), in float32."""
        sizes = areas.float().clamp(min=MIN_AREA).log2() / 2
        knots = self.sides.log2()
        rises = self.shifts[1:] - self.shifts[:-1]
        shift = self.shifts[0].expand_as(sizes)
        for i in range(self.num_sides - 1):
            way = (sizes - knots[i]) / (knots[i + 1] - knots[i])
            shift = shift + rises[i] * way.clamp(0, 1)
        return shift

    def extra_repr(self) -> str:
        """The sides, for `print`."""
        return f"sides={tuple(self.sides.tolist())}"

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        sides = state_dict.get(f"{prefix}sides")
        if sides is None:
            self.shifts.zero_()
            return
        own = self.sides.to(sides)  # those of a mean over time may be off by a bit
        if sides.shape != own.shape or not torch.allclose(sides, own, rtol=1e-5):
            raise ValueError(
                f"the checkpoint has score shifts at the sides {sides.tolist()}, the "
                f"head at {self.sides.tolist()}: set score_shift.sides of the head to "
                "those of the checkpoint"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


class ScoreShiftMixin:
    """Put it before a head of mmyolo whose module gives class logits and distances.

    Args:
        *args: Of the head.
        score_shift: Config of the shift, ``dict(type='SizeScoreShift')``; None for
            none. It acts outside of training only.
        **kwargs: Of the head.

    Raises:
        ValueError: ``score_shift`` is another module; when a checkpoint is loaded, that
            it has a fitted shift and the head none.
    """

    def __init__(self, *args, score_shift: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.score_shift = None
        if score_shift is not None:
            self.score_shift = MODELS.build(score_shift)
            if not isinstance(self.score_shift, SizeScoreShift):
                raise ValueError(
                    "score_shift must be dict(type='SizeScoreShift'), got "
                    f"{score_shift}"
                )

    def forward(self, x: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """What the head module returns, outside of training with shifted logits."""
        outputs = super().forward(x)
        if self.training or self.score_shift is None:
            return outputs
        logits, distances = outputs
        shifted = [
            self.score_shift(of_level, _areas(*of_sides.float().unbind(1)) * stride**2)
            for of_level, of_sides, stride in zip(
                logits, distances, self.featmap_strides, strict=True
            )
        ]
        return shifted, distances

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        shifts = state_dict.get(f"{prefix}score_shift.shifts")
        if self.score_shift is None and shifts is not None and shifts.any():
            sides = state_dict[f"{prefix}score_shift.sides"].tolist()
            raise ValueError(
                f"the checkpoint has score shifts {shifts.tolist()} at the sides "
                f"{sides}, which the head would drop: give it score_shift=dict("
                f"type='SizeScoreShift', sides={sides}), or load the checkpoint that "
                "was fitted"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _areas(left: Tensor, top: Tensor, right: Tensor, bottom: Tensor) -> Tensor:
    """Of boxes given by the distances to their sides."""
    return (left + right).clamp(min=0) * (top + bottom).clamp(min=0)
