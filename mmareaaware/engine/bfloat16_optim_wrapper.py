"""Trains in mixed precision where there is no GPU, too."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the network in bfloat16 while it trains; weights and updates stay float32.

    MMEngine's ``AmpOptimWrapper`` refuses to be built without a GPU. A processor with
    AVX512-BF16 or AMX instructions takes less time for a convolution in bfloat16, one
    without them may take more. bfloat16 has the range of float32, so gradients need no
    scaling. It takes what ``mmengine.optim.OptimWrapper`` takes.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        """The context of a forward pass in training.

        Args:
            model: The network.
        """
        device = get_device()
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
