"""Detectors of the recipes on given feature maps: what their losses are, in seconds."""

from contextlib import contextmanager
from copy import deepcopy

import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from tests.detectors import detector_batch
from tests.test_preflight.heads import scope_of

SIZE = 128
BOXES = [  # image, label, x1, y1, x2, y2 in px; none touches another
    (0, 3, 4.0, 6.0, 20.0, 18.0),
    (0, 17, 40.0, 30.0, 100.0, 110.0),
    (1, 3, 60.0, 8.0, 90.0, 50.0),
    (1, 0, 10.0, 70.0, 18.0, 80.0),
]


class Features(BaseModule):
    """In the place of a backbone and a neck: random maps, the same for any images."""

    def fit(self, detector: nn.Module) -> None:
        """Make the maps that a detector's first head takes."""
        head = getattr(detector, "rpn_head", None) or detector.bbox_head
        if not hasattr(head, "prior_generator"):  # DINO's, which has no step here
            return
        strides = [max(stride) for stride in _strides(head)]
        channels = getattr(head, "head_module", head).in_channels
        if isinstance(channels, int):
            channels = [channels] * len(strides)
        generator = torch.Generator().manual_seed(0)
        self.maps = tuple(
            torch.randn(2, c, -(-SIZE // s), -(-SIZE // s), generator=generator)
            for c, s in zip(channels, strides, strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.maps


def _strides(head: nn.Module) -> list[tuple[int, int]]:
    return [
        stride if isinstance(stride, tuple) else (stride, stride)
        for stride in head.prior_generator.strides
    ]


def build(name: str, model: ConfigDict) -> nn.Module:
    """The detector of a recipe, the same weights every time."""
    model = deepcopy(model)
    model.backbone, model.neck = dict(type=Features), None
    for sampler in _samplers(model):
        sampler.num = 32
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope_of(name)):
        detector = MODELS.build(model)
    detector.backbone.fit(detector)
    return detector.train()


def _samplers(cfg) -> list[ConfigDict]:
    """Where RoIs are sampled, hundreds of them."""
    if isinstance(cfg, list):
        return [sampler for part in cfg for sampler in _samplers(part)]
    if not isinstance(cfg, dict):
        return []
    own = [cfg.sampler] if "num" in (cfg.get("sampler") or {}) else []
    return own + [sampler for part in cfg.values() for sampler in _samplers(part)]


def images(name: str) -> Tensor | list[Tensor]:
    """As the data loader gives them."""
    shape = (2, 3, SIZE, SIZE)
    stacked = torch.zeros(shape, dtype=torch.uint8)
    return stacked if scope_of(name) == "mmyolo" else list(stacked)


@contextmanager
def _after_the_first_epochs():
    """Some heads begin with another assigner."""
    info = MessageHub.get_current_instance().runtime_info
    before = info.get("epoch")
    info["epoch"] = 100
    yield
    info["epoch"] = before


def losses(name: str, detector: nn.Module) -> dict[str, float]:
    """What a batch costs; what is logged beside is left out."""
    boxes = torch.tensor(BOXES)
    if scope_of(name) == "mmyolo":
        meta = dict(batch_input_shape=(SIZE, SIZE), img_shape=(SIZE, SIZE))
        samples = dict(bboxes_labels=boxes, img_metas=[meta, meta])
    else:
        batch = detector_batch((2, 2), with_mask="Mask" in name, size=SIZE)
        samples = batch["data_samples"]
        for image, sample in enumerate(samples):
            own = boxes[boxes[:, 0] == image]
            sample.gt_instances.bboxes = own[:, 2:]
            sample.gt_instances.labels = own[:, 1].long()
            del sample.ignored_instances  # which some of ours look at, and stock not
            sample.set_metainfo(
                dict(batch_input_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE))
            )
    torch.manual_seed(0)  # RoIs are sampled
    with _after_the_first_epochs():
        found = detector.loss(torch.zeros(2, 3, SIZE, SIZE), samples)
    return {
        key: float(sum(value) if isinstance(value, list) else value.detach())
        for key, value in found.items()
        if "loss" in key
    }
