"""What stands for `mmcv._ext`: its operators in torch, under its names and signatures.

mmcv asks at import whether every operator of `mmcv.ops` exists. Those that are not here
exist too, and say what is missing when they are called.
"""

from collections.abc import Callable
from typing import NoReturn

from mmareaaware_ops.deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from mmareaaware_ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mmareaaware_ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)
from mmareaaware_ops.nms import nms
from mmareaaware_ops.roi_align import roi_align_backward, roi_align_forward
from mmareaaware_ops.soft_nms import softnms

__all__ = [
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "roi_align_backward",
    "roi_align_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softnms",
]


def get_compiler_version() -> str:
    """For MMEngine's list of versions."""
    return "none: operators in torch (mmareaaware_ops)"


def get_compiling_cuda_version() -> str:
    """For MMEngine's list of versions."""
    return "none: operators in torch (mmareaaware_ops)"


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def missing(*args, **kwargs) -> NoReturn:
        raise NotImplementedError(
            f"mmcv's operator {name!r} is not among those that mmareaaware has in "
            f"torch. The compiled ones come with mmcv in place of mmcv-lite: "
            f"`pip uninstall mmcv-lite`, then `pip install mmcv`, or "
            f"`OPS=compiled tools/setup.sh` in a checkout of mmareaaware."
        )

    missing.__name__ = name
    return missing
