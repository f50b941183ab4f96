"""Blocks of YOLO11, after the published architecture."""

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.layers import CSPLayer
from mmengine.model import BaseModule
from mmyolo.models.layers import CSPLayerWithTwoConv
from mmyolo.models.layers.yolo_bricks import DarknetBottleneck
from torch import Tensor, nn

NORM = dict(type="BN", momentum=0.03, eps=0.001)
ACT = dict(type="SiLU", inplace=True)


def _bottlenecks(
    number: int,
    channels: int,
    expansion: float,
    add_identity: bool,
    norm_cfg: dict,
    act_cfg: dict,
) -> list[nn.Module]:
    """Bottlenecks of two 3×3 convolutions."""
    return [
        DarknetBottleneck(
            channels,
            channels,
            expansion=expansion,
            kernel_size=(3, 3),
            padding=(1, 1),
            add_identity=add_identity,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        for _ in range(number)
    ]


class C3k(CSPLayer):
    """CSP layer of two branches whose bottlenecks have two 3×3 convolutions.

    Args:
        channels: In and out, (B, C, H, W).
        num_blocks: Bottlenecks of the main branch.
        add_identity: Whether the bottlenecks are residual.
        norm_cfg: Config of the normalisation.
        act_cfg: Config of the activation.
    """

    def __init__(
        self,
        channels: int,
        num_blocks: int = 2,
        add_identity: bool = True,
        norm_cfg: dict = NORM,
        act_cfg: dict = ACT,
    ) -> None:
        super().__init__(
            channels, channels, num_blocks=0, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        middle = self.main_conv.out_channels
        self.blocks = nn.Sequential(
            *_bottlenecks(num_blocks, middle, 1.0, add_identity, norm_cfg, act_cfg)
        )


class C3k2(CSPLayerWithTwoConv):
    """YOLOv8's CSP layer with narrower bottlenecks or with C3k inside.

    Args:
        in_channels: (B, C_in, H, W).
        out_channels: (B, C_out, H, W).
        num_blocks: Inner blocks.
        use_c3k: C3k as the inner block, else a bottleneck of half the width.
        expand_ratio: Width of the inner blocks over ``out_channels``.
        add_identity: Whether the bottlenecks are residual.
        norm_cfg: Config of the normalisation.
        act_cfg: Config of the activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int = 2,
        use_c3k: bool = False,
        expand_ratio: float = 0.5,
        add_identity: bool = True,
        norm_cfg: dict = NORM,
        act_cfg: dict = ACT,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            expand_ratio=expand_ratio,
            num_blocks=num_blocks,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        common = (add_identity, norm_cfg, act_cfg)
        if use_c3k:
            blocks = [C3k(self.mid_channels, 2, *common) for _ in range(num_blocks)]
        else:
            blocks = _bottlenecks(num_blocks, self.mid_channels, 0.5, *common)
        self.blocks = nn.ModuleList(blocks)


class Attention(BaseModule):
    """Self-attention over all positions, its position a depthwise convolution.

    Args:
        channels: (B, C, H, W), in heads of 64 where C allows it; the keys are half as
            wide as the values.
        norm_cfg: Config of the normalisation.
    """

    HEAD_CHANNELS = 64

    def __init__(self, channels: int, norm_cfg: dict = NORM) -> None:
        super().__init__()
        self.num_heads = max(channels // self.HEAD_CHANNELS, 1)
        self.value_dim = channels // self.num_heads
        self.key_dim = self.value_dim // 2
        linear = dict(norm_cfg=norm_cfg, act_cfg=None)
        width = self.num_heads * (2 * self.key_dim + self.value_dim)
        self.qkv = ConvModule(channels, width, 1, **linear)
        self.pe = ConvModule(
            channels, channels, 3, padding=1, groups=channels, **linear
        )
        self.proj = ConvModule(channels, channels, 1, **linear)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over all places of the map; (B, C, H, W) to the same."""
        qkv = self.qkv(x).flatten(2).unflatten(1, (self.num_heads, -1))
        query, key, value = qkv.split((self.key_dim, self.key_dim, self.value_dim), 2)
        attended = F.scaled_dot_product_attention(
            query.transpose(2, 3), key.transpose(2, 3), value.transpose(2, 3)
        )  # (B, heads, H·W, value_dim), scaled by key_dim^-½
        attended = attended.transpose(2, 3).reshape(x.shape)
        return self.proj(attended + self.pe(value.reshape(x.shape)))


class PSABlock(BaseModule):
    """Attention and a feed-forward network, both residual.

    Args:
        channels: (B, C, H, W).
        norm_cfg: Config of the normalisation.
        act_cfg: Config of the activation.
    """

    def __init__(
        self, channels: int, norm_cfg: dict = NORM, act_cfg: dict = ACT
    ) -> None:
        super().__init__()
        self.attn = Attention(channels, norm_cfg)
        self.ffn = nn.Sequential(
            ConvModule(channels, 2 * channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg),
            ConvModule(2 * channels, channels, 1, norm_cfg=norm_cfg, act_cfg=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attention and convolutions, each added to its input, (B, C, H, W)."""
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(BaseModule):
    """CSP layer of which one half goes through attention.

    Args:
        channels: In and out, (B, C, H, W).
        num_blocks: PSA blocks.
        norm_cfg: Config of the normalisation.
        act_cfg: Config of the activation.
    """

    def __init__(
        self,
        channels: int,
        num_blocks: int = 2,
        norm_cfg: dict = NORM,
        act_cfg: dict = ACT,
    ) -> None:
        super().__init__()
        half = channels // 2
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.main_conv = ConvModule(channels, 2 * half, 1, **common)
        self.final_conv = ConvModule(2 * half, channels, 1, **common)
        self.blocks = nn.Sequential(
            *(PSABlock(half, **common) for _ in range(num_blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """One half of the channels goes by the blocks; (B, C, H, W)."""
        kept, attended = self.main_conv(x).chunk(2, 1)
        return self.final_conv(torch.cat((kept, self.blocks(attended)), 1))
