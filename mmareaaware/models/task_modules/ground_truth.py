"""What boxes and labels there may be in a batch."""

import torch
from torch import Tensor

# In px. No image is as wide, and what is beyond makes the losses inf or nan.
MAX_COORDINATE = 1e6


def check_ground_truth(labels: Tensor, boxes: Tensor, num_classes: int) -> None:
    """See, on the device and without waiting for it, what cannot be trained on.

    Args:
        labels: Of any shape. -1 would be the last class.
        boxes: In px, of any shape.
        num_classes: Number C of classes.

    Raises:
        RuntimeError: A label is none of a class, a box lies beyond ``MAX_COORDINATE``
            or is no number (on a GPU: a device-side assert).
    """
    is_class = (labels >= 0) & (labels < num_classes)
    torch._assert_async(is_class.all(), f"a label is outside 0...{num_classes - 1}")
    torch._assert_async(
        (boxes.abs() <= MAX_COORDINATE).all(),  # nan is not
        f"a box lies beyond {MAX_COORDINATE:g} px or is no number",
    )
