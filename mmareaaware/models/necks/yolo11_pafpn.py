"""Neck of YOLO11."""

from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from mmyolo.models import YOLOv8PAFPN
from mmyolo.models.utils import make_divisible, make_round
from torch import nn

from ..layers import C3k2


@MODELS.register_module()
class YOLO11PAFPN(YOLOv8PAFPN):
    """Path aggregation network of YOLO11, for any number of levels.

    Args:
        *args: As for ``YOLOv8PAFPN``; ``in_channels`` and ``out_channels`` of a level
            may differ. With the backbone's ``out_indices=(2, 3, 4)`` they are [512,
            512, 1024] and [256, 512, 1024], before widening.
        all_c3k: C3k inside every C3k2 (scales m, l, x); else in the coarsest only.
        num_csp_blocks: Inner blocks of each C3k2, before deepening.
        **kwargs: As for ``YOLOv8PAFPN``.
    """

    def __init__(
        self, *args, all_c3k: bool = False, num_csp_blocks: int = 2, **kwargs
    ) -> None:
        self.all_c3k = all_c3k
        super().__init__(*args, num_csp_blocks=num_csp_blocks, **kwargs)

    def build_top_down_layer(self, idx: int) -> nn.Module:
        """What fuses level ``idx``, made larger, into the next finer one."""
        low = self._widen(self.in_channels[idx - 1])
        return self._c3k2(low + self._inner(idx), self.out_channels[idx - 1], False)

    def build_downsample_layer(self, idx: int) -> nn.Module:
        """The convolution that halves level ``idx``."""
        channels = self._widen(self.out_channels[idx])
        return ConvModule(
            channels,
            channels,
            3,
            stride=2,
            padding=1,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def build_bottom_up_layer(self, idx: int) -> nn.Module:
        """What fuses level ``idx``, halved, into the next coarser one."""
        fine = self._widen(self.out_channels[idx])
        is_coarsest = idx + 2 == len(self.in_channels)
        return self._c3k2(
            fine + self._inner(idx + 1), self.out_channels[idx + 1], is_coarsest
        )

    def _inner(self, idx: int) -> int:
        """Channels of a level between the two paths; the coarsest comes as it is."""
        is_coarsest = idx + 1 == len(self.in_channels)
        return self._widen(
            (self.in_channels if is_coarsest else self.out_channels)[idx]
        )

    def _widen(self, channels: int) -> int:
        return make_divisible(channels, self.widen_factor)

    def _c3k2(self, in_channels: int, out_channels: int, use_c3k: bool) -> nn.Module:
        return C3k2(
            in_channels,
            self._widen(out_channels),
            make_round(self.num_csp_blocks, self.deepen_factor),
            use_c3k or self.all_c3k,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )
