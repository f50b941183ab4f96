"""A tiny semi-supervised YOLO, and batches of labelled and unlabelled images."""

from copy import deepcopy

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

NUM_CLASSES = 3
SIZE = 96
RECIPE = "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"
PREPROCESSOR = dict(
    type="mmdet.DetDataPreprocessor", mean=[0.0] * 3, std=[255.0] * 3, pad_value=114
)
LOSS_CLS = dict(type="AreaAwareBCELoss", loss_weight=0.5)
BG = dict(type="BgPenaltyLoss", lambda_bg=1.0)
FIXED = dict(type="FixedThresholds", high=0.8, low=0.6)


def detector_config(num_classes: int = NUM_CLASSES, **head) -> ConfigDict:
    """YOLOv8, an eighth as wide, with our head and assigner."""
    model = get_config(RECIPE).model
    for part in (model.backbone, model.neck, model.bbox_head.head_module):
        part.update(widen_factor=0.125)
    model.bbox_head.head_module.update(num_classes=num_classes)
    model.bbox_head.update(type="AreaAwareYOLOv8Head", loss_cls=LOSS_CLS, loss_bg=BG)
    model.bbox_head.update(head)
    model.train_cfg.assigner = dict(
        type="SparseTaskAlignedAssigner", num_classes=num_classes
    )
    model.data_preprocessor = deepcopy(PREPROCESSOR)
    model.use_syncbn = False  # there is none on CPUs
    return model


def semi_config(detector: ConfigDict | None = None, **settings) -> ConfigDict:
    """A semi-supervised detector; pseudo-boxes need next to no score."""
    settings.setdefault(
        "pseudo_labels",
        dict(thresholds=FIXED),
    )
    return ConfigDict(
        type="SemiYOLODetector",
        detector=detector or detector_config(),
        data_preprocessor=dict(
            type="mmdet.MultiBranchDataPreprocessor",
            data_preprocessor=deepcopy(PREPROCESSOR),
        ),
        **settings,
    )


def build(config: ConfigDict, seed: int = 0):
    """Build it in training mode, student and teacher with the same random weights.

    They give detections of some 8 to 100 px, in all three zones of ``FIXED``.
    """
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        model = MODELS.build(deepcopy(config))
    network = getattr(model, "student", model)
    module = network.bbox_head.head_module
    near = -(torch.arange(module.reg_max) - 1.2).abs()
    with torch.no_grad():
        for branch in module.cls_preds:
            branch[-1].weight.normal_(std=0.6)
            branch[-1].bias.fill_(-4.0)
        for branch in module.reg_preds:
            branch[-1].bias.copy_(near.repeat(4))
        _see_images(network)
    if network is not model:
        model.teacher.load_state_dict(network.state_dict())
    return model.train()


def _see_images(network) -> None:
    """Let BatchNorm see a batch, so that a teacher is a network that works."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    usual = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    network.train()(torch.rand(8, 3, SIZE, SIZE), mode="tensor")
    for norm in norms:
        norm.momentum = usual


def truth(number: int, generator: torch.Generator, size: int = SIZE) -> InstanceData:
    """Random boxes of 8 to 48 px."""
    centre = torch.rand(number, 2, generator=generator) * size
    side = 8 + torch.rand(number, 2, generator=generator) * 40
    boxes = torch.cat([centre - side / 2, centre + side / 2], 1).clamp(0, size)
    labels = torch.randint(NUM_CLASSES, (number,), generator=generator)
    return InstanceData(bboxes=boxes, labels=labels)


def sample(
    gt: InstanceData | None = None, homography=None, size: int = SIZE
) -> DetDataSample:
    """A data sample of a square view."""
    matrix = np.eye(3) if homography is None else np.asarray(homography, float)
    result = DetDataSample(
        metainfo=dict(
            img_shape=(size, size),
            ori_shape=(size, size),
            scale_factor=(1.0, 1.0),
            homography_matrix=matrix,
        )
    )
    result.gt_instances = gt or truth(0, torch.Generator())
    return result


def semi_batch(
    num_sup: int = 2,
    num_unsup: int = 2,
    boxes: int = 4,
    seed: int = 0,
    size: int = SIZE,
    size_unsup: int = SIZE,
) -> dict:
    """As the data loader makes it, the strong view a flipped and noisy weak view."""
    generator = torch.Generator().manual_seed(seed)

    def images(number, size):
        shape = (number, 3, size, size)
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)

    sup, weak = images(num_sup, size), images(num_unsup, size_unsup)
    strong = weak.flip(3) // 2 + images(num_unsup, size_unsup) // 2
    hidden = [truth(boxes, generator, size_unsup) for _ in range(num_unsup)]
    flip = [[-1, 0, size_unsup], [0, 1, 0], [0, 0, 1]]
    nothing = [None] * num_sup

    def branch(before, values, after):
        return [*before, *values, *after]

    labelled = [
        sample(truth(boxes, generator, size), size=size) for _ in range(num_sup)
    ]
    views = [
        [sample(gt, homography, size_unsup) for gt in hidden]
        for homography in (None, flip)
    ]
    nothing_more = [None] * num_unsup
    return dict(
        inputs=dict(
            sup=branch([], sup, nothing_more),
            unsup_teacher=branch(nothing, weak, []),
            unsup_student=branch(nothing, strong, []),
        ),
        data_samples=dict(
            sup=branch([], labelled, nothing_more),
            unsup_teacher=branch(nothing, views[0], []),
            unsup_student=branch(nothing, views[1], []),
        ),
    )


def step(model, batch: dict) -> tuple[dict, dict]:
    """Logged values, and gradients by name, of one batch."""
    model.zero_grad()
    data = model.data_preprocessor(deepcopy(batch), True)
    losses = model(**data, mode="loss")
    total, values = model.parse_losses(losses)
    total.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return values, grads


def found(boxes, scores, labels=None) -> InstanceData:
    """What a teacher has found on an image."""
    scores = torch.tensor(scores)
    labels = [0] * len(scores) if labels is None else labels
    return InstanceData(
        bboxes=torch.tensor(boxes).float().view(-1, 4),
        scores=scores,
        labels=torch.tensor(labels).long(),
        is_exact=torch.ones(len(scores), dtype=torch.bool),
    )
