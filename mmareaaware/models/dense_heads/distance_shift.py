"""Distances to the sides of a box that may be negative: the prior lies outside it."""

import re
from functools import partial

import torch
from torch import Tensor, nn

KEY = "distance_shift"
# The last convolution of a level; others are within a module of their own.
LAST_LAYER = re.compile(r"reg_preds\.\d+\.\d+\.(weight|bias)$")
# A bin that a checkpoint lacks starts with this logit less than the bin above it.
STEP_DOWN = 5.0


def shift_distances(module: nn.Module, shift: int) -> None:
    """Let a head module predict from ``-shift`` strides on, to as much less at the end.

    A stock module's distances begin at 0, where a mean over a distribution only comes
    close, and a prior outside a box cannot predict it at all. A box below two strides
    has hardly a prior within, and none that is far from a side: with the ``min_side``
    of ``SparseTaskAlignedAssigner`` it gets those around it, and they need this.

    A checkpoint without a shift is taken over: its bins move up, the new ones begin
    with next to no probability, and what the last bins had is lost, which sides of more
    than ``reg_max - 1 - shift`` strides would need. The boxes are off by less than
    1/100 of a stride. One that was trained with a shift tells so, and goes into a
    module of the same shift only.

    Source: the range of ``PP-YOLOE+_SOD``, from -2 to 8 strides, in [PaddleDetection](https://github.com/PaddlePaddle/PaddleDetection).

    Args:
        module: A ``YOLOv8HeadModule``, changed.
        shift: In whole strides; 0 changes nothing.

    Raises:
        ValueError: ``shift`` is no whole number, or leaves no distance above 0.
    """
    if type(shift) is not int or not 0 <= shift < module.reg_max - 1:
        raise ValueError(
            f"distance_shift must be a whole number from 0 to reg_max - 2 = "
            f"{module.reg_max - 2}, got {shift!r}"
        )
    if shift:
        module.proj = module.proj - shift
        module.register_buffer(KEY, torch.tensor(float(shift)))
    adapt = partial(_adapt, shift, module.reg_max)
    module._register_load_state_dict_pre_hook(adapt)


def _adapt(
    shift: int, reg_max: int, state_dict: dict[str, Tensor], prefix: str, *_
) -> None:
    """Move the bins of a checkpoint, before it is loaded."""
    of_checkpoint = round(float(state_dict.get(prefix + KEY, 0)))  # averaged, maybe
    if of_checkpoint == shift:
        return
    if of_checkpoint:
        raise ValueError(
            f"the checkpoint was trained with distance_shift={of_checkpoint} and the "
            f"head has {shift}: set bbox_head.distance_shift={of_checkpoint}"
        )
    state_dict[prefix + KEY] = torch.tensor(float(shift))
    for key in [k for k in state_dict if k.startswith(prefix)]:
        last = LAST_LAYER.fullmatch(key.removeprefix(prefix))
        if last and len(state_dict[key]) == 4 * reg_max:
            is_bias = last[1] == "bias"
            state_dict[key] = _move(state_dict[key], shift, reg_max, is_bias)


def _move(values: Tensor, shift: int, reg_max: int, is_bias: bool) -> Tensor:
    """Of the last layer, (4 · reg_max, ...), with as many new bins as were shifted."""
    bins = values.unflatten(0, (4, reg_max))
    new = bins[:, :1].repeat_interleave(shift, 1)
    if is_bias:
        new = new - STEP_DOWN * torch.arange(shift, 0, -1).to(new)
    return torch.cat([new, bins[:, : reg_max - shift]], 1).flatten(0, 1)
