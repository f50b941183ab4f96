"""A whole training step and a whole inference, with both kinds of operators.

On the CPU, mmcv's deformable attention calls neither: `test_deform.py` has it.
"""

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS

import mmareaaware_ops.ext

from ..conftest import SIZE, batch
from ..detectors import (
    NUM_CLASSES,
    STOCK,
    build_detector,
    detector_batch,
    detector_config,
    training_step,
)
from .conftest import operators

YOLO = dict(
    yolov8="mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py",
    yolo11="configs/yolo11/yolo11_n_8xb16-500e_coco.py",
)
DETR = "mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py"


def yolo_config(kind: str, root) -> dict:
    recipe = YOLO[kind]
    if recipe.startswith("mmyolo::"):
        model = get_config(recipe).model
    else:
        model = Config.fromfile(root / recipe).model
    for part in (model.backbone, model.neck, model.bbox_head.head_module):
        part.widen_factor = 0.125
    model.bbox_head.head_module.num_classes = 5
    model.train_cfg.assigner.num_classes = 5
    return model


def detr_config() -> dict:
    model = get_config(DETR).model
    model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    model.neck.update(in_channels=[16, 32, 64], out_channels=64)
    model.neck.norm_cfg.num_groups = 8
    model.num_queries = 50
    model.positional_encoding.num_feats = 32
    model.bbox_head.update(num_classes=NUM_CLASSES, embed_dims=64)
    for part in (model.encoder, model.decoder):
        part.num_layers = 2
        part.layer_cfg.self_attn_cfg.embed_dims = 64
        part.layer_cfg.ffn_cfg.update(embed_dims=64, feedforward_channels=64)
    model.decoder.layer_cfg.cross_attn_cfg.embed_dims = 64
    return model


def config_of(kind: str, root) -> dict:
    """A tiny detector whose inference keeps boxes of any score."""
    if kind in YOLO:
        model = yolo_config(kind, root)
    elif kind == "deformable_detr":
        model = detr_config()
    else:
        model = detector_config(kind)
    if "rcnn" in model.test_cfg:
        model.test_cfg.rcnn.score_thr = 0.0
    else:
        model.test_cfg.score_thr = 0.0
    return model


def train(model, kind: str) -> dict[str, torch.Tensor]:
    """Losses and gradients by name."""
    if kind not in YOLO:
        samples = detector_batch(with_mask=kind == "mask")
        losses, gradients = training_step(build(model, kind), samples)
    else:
        detector = build(model, kind)
        losses = detector.loss(images(), batch([7, 4]))
        detector.parse_losses(losses)[0].backward()
        gradients = {
            name: parameter.grad
            for name, parameter in detector.named_parameters()
            if parameter.grad is not None
        }
    flat = {}
    for name, loss in losses.items():
        for i, value in enumerate(loss if isinstance(loss, list) else [loss]):
            flat[f"{name}.{i}"] = value.detach()
    return flat | gradients


def infer(model, kind: str) -> list[dict[str, torch.Tensor]]:
    """What is found in each image."""
    samples = detector_batch(with_mask=kind == "mask")
    detector = build(model, kind).eval()
    if kind in YOLO:
        data = dict(inputs=images(), data_samples=samples["data_samples"])
        for sample in data["data_samples"]:
            sample.set_metainfo(dict(pad_param=None, batch_input_shape=(SIZE, SIZE)))
    else:
        data = detector.data_preprocessor(samples, False)
    with torch.no_grad():
        results = detector(**data, mode="predict")
    return [dict(result.pred_instances.items()) for result in results]


def build(model, kind: str):
    """In training mode, always with the same weights."""
    if kind in YOLO:
        torch.manual_seed(0)
        return MODELS.build(model).train()
    detector = build_detector(model)
    if kind == "deformable_detr":
        detector.init_weights()  # it leaves some uninitialised until then
    return detector


def images() -> torch.Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [*STOCK, *YOLO, "deformable_detr"])
def test_same_training_and_inference(compiled, root, kind):
    expected, found = {}, {}
    for results, ext in ((expected, compiled), (found, mmareaaware_ops.ext)):
        with operators(ext):
            results["training"] = train(config_of(kind, root), kind)
            results["inference"] = infer(config_of(kind, root), kind)
    assert found["training"].keys() == expected["training"].keys()
    for name, value in expected["training"].items():
        scale = value.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(
            found["training"][name] / scale, value / scale, rtol=0, atol=1e-4
        )
    for ours, theirs in zip(found["inference"], expected["inference"], strict=True):
        assert len(theirs["scores"]) > 3
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
