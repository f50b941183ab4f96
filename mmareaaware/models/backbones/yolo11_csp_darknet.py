"""Backbone of YOLO11."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from mmyolo.models.backbones import BaseBackbone
from mmyolo.models.layers import SPPFBottleneck
from mmyolo.models.utils import make_divisible, make_round
from torch import nn

from ..layers import C2PSA, C3k2
from ..layers.yolo11_blocks import ACT, NORM

# In, out and of the strided convolution; blocks, expansion, C3k, attention
STAGES = (
    (64, 256, 128, 2, 0.25, False, False),
    (256, 512, 256, 2, 0.25, False, False),
    (512, 512, 512, 2, 0.5, True, False),
    (512, None, None, 2, 0.5, True, True),
)


@MODELS.register_module()
class YOLO11CSPDarknet(BaseBackbone):
    """CSP-Darknet of YOLO11, with mmyolo's arguments.

    The published scales:

    | scale | deepen_factor | widen_factor | last_stage_out_channels | all_c3k |
    | --- | --- | --- | --- | --- |
    | n | 0.5 | 0.25 | 1024 | False |
    | s | 0.5 | 0.5 | 1024 | False |
    | m | 0.5 | 1.0 | 512 | True |
    | l | 1.0 | 1.0 | 512 | True |
    | x | 1.0 | 1.5 | 512 | True |

    Args:
        arch: ``'P5'``, the only one.
        last_stage_out_channels: Of the last stage, before widening.
        plugins: As in mmyolo.
        deepen_factor: Multiplies the numbers of blocks.
        widen_factor: Multiplies the channels.
        all_c3k: C3k inside every C3k2; else from stage 3 on.
        input_channels: Of the image.
        out_indices: Stages to return; 1 is stride 4.
        frozen_stages: Stages up to this one are not trained; -1 for none.
        norm_cfg: Config of the normalisation.
        act_cfg: Config of the activation.
        norm_eval: Keep the running statistics.
        init_cfg: Initialisation; None for PyTorch's.

    Raises:
        ValueError: ``arch`` is unknown.
    """

    def __init__(
        self,
        arch: str = "P5",
        last_stage_out_channels: int = 1024,
        plugins: dict | list[dict] | None = None,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        all_c3k: bool = False,
        input_channels: int = 3,
        out_indices: Sequence[int] = (2, 3, 4),
        frozen_stages: int = -1,
        norm_cfg: dict = NORM,
        act_cfg: dict = ACT,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if arch != "P5":
            raise ValueError(f"arch must be 'P5', got {arch!r}")
        self.all_c3k = all_c3k
        *stages, last = STAGES
        last = tuple(last_stage_out_channels if x is None else x for x in last)
        super().__init__(
            [*stages, last],
            deepen_factor,
            widen_factor,
            input_channels=input_channels,
            out_indices=out_indices,
            plugins=plugins,
            frozen_stages=frozen_stages,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            norm_eval=norm_eval,
            init_cfg=init_cfg,
        )

    def build_stem_layer(self) -> nn.Module:
        """The first convolution, to stride 2."""
        channels = make_divisible(self.arch_setting[0][0], self.widen_factor)
        return self._downsample(self.input_channels, channels)

    def build_stage_layer(self, stage_idx: int, setting: Sequence) -> list[nn.Module]:
        """The layers of a stage, of half the resolution, from its ``setting``."""
        *channels, num_blocks, expand_ratio, use_c3k, use_attention = setting
        in_channels, out_channels, middle = (
            make_divisible(c, self.widen_factor) for c in channels
        )
        num_blocks = make_round(num_blocks, self.deepen_factor)
        common = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        stage = [
            self._downsample(in_channels, middle),
            C3k2(
                middle,
                out_channels,
                num_blocks,
                use_c3k or self.all_c3k,
                expand_ratio,
                **common,
            ),
        ]
        if use_attention:
            stage.append(
                SPPFBottleneck(out_channels, out_channels, kernel_sizes=5, **common)
            )
            stage.append(C2PSA(out_channels, num_blocks, **common))
        return stage

    def _downsample(self, in_channels: int, out_channels: int) -> nn.Module:
        return ConvModule(
            in_channels,
            out_channels,
            3,
            stride=2,
            padding=1,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def init_weights(self) -> None:
        """PyTorch's own initialisation, as in mmyolo's backbones, or ``init_cfg``."""
        if self.init_cfg is not None:
            super().init_weights()
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
