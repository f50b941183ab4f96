"""Head module of YOLO11."""

from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from mmyolo.models import YOLOv8HeadModule
from torch import nn


@MODELS.register_module()
class YOLO11HeadModule(YOLOv8HeadModule):
    """YOLOv8's head module with a class branch of depthwise convolutions.

    Takes the arguments of ``YOLOv8HeadModule``, returns what it returns, and serves
    ``YOLOv8Head`` and ``AreaAwareYOLOv8Head``.
    """

    # The class branch is never narrower than the classes, up to this many.
    MAX_CLASS_CHANNELS = 100

    def _init_layers(self) -> None:
        super()._init_layers()
        middle = max(
            self.in_channels[0], min(self.num_classes, self.MAX_CLASS_CHANNELS)
        )
        self.cls_preds = nn.ModuleList(
            nn.Sequential(
                self._separable(channels, middle),
                self._separable(middle, middle),
                nn.Conv2d(middle, self.num_classes, 1),
            )
            for channels in self.in_channels
        )

    def _separable(self, in_channels: int, out_channels: int) -> nn.Sequential:
        common = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        return nn.Sequential(
            ConvModule(
                in_channels, in_channels, 3, padding=1, groups=in_channels, **common
            ),
            ConvModule(in_channels, out_channels, 1, **common),
        )
