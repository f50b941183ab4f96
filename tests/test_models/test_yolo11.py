"""YOLO11 against Ultralytics: parameter counts, outputs, weights.

Weights and images come from ``tests/data/recipe.py``, a function of Ultralytics' names;
``tests/data/ultralytics_yolo11_forward.npz`` holds what Ultralytics 8.3.253 gave.
"""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmareaaware.conversion import ultralytics_weights as converter
from mmareaaware.models.layers import yolo11_blocks
from tests.conftest import ROOT
from tests.data import recipe

REFERENCE = np.load(ROOT / "tests/data/ultralytics_yolo11_forward.npz")
PARAMETERS = dict(n=2624080, s=9458752, m=20114688, l=25372160, x=56966176)
NARROW = {
    f"model.{part}.widen_factor": 0.125
    for part in ("backbone", "neck", "bbox_head.head_module")
}
EVERY = 5  # prior is in the file
DFL = 16  # fixed numbers that Ultralytics counts


def build(scale, **options):
    cfg = Config.fromfile(ROOT / f"configs/yolo11/yolo11_{scale}_8xb16-500e_coco.py")
    cfg.merge_from_dict(options)
    return MODELS.build(cfg.model)


def recipe_weights(model):
    """The reference's weights, under Ultralytics' names."""
    names = converter.ultralytics_names(list(model.state_dict()))
    weights = {
        theirs: torch.from_numpy(recipe.fill_parameter(theirs, tuple(value.shape)))
        for theirs, value in zip(
            names.values(), model.state_dict().values(), strict=True
        )
    }
    (dfl,) = converter.constants(model)
    weights[dfl] = torch.from_numpy(recipe.fill_parameter(dfl, (1, 16, 1, 1)))
    return weights


def load_recipe_weights(model):
    state, _ = converter.from_ultralytics(recipe_weights(model), model)
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def outputs(model):
    """Box distributions (B, N, 64) and logits (B, N, 80) of the reference's image."""
    features = model.neck(model.backbone(torch.from_numpy(recipe.image())))
    module = model.bbox_head.head_module
    maps = [
        [branch[level](feature).flatten(2).transpose(1, 2) for branch in branches]
        for level, feature in enumerate(features)
        for branches in [(module.reg_preds, module.cls_preds)]
    ]
    return tuple(torch.cat(part, 1) for part in zip(*maps, strict=True))


def largest_error(model, scale):
    """Over both outputs, in units of the reference's largest value."""
    errors = []
    for name, value in zip(("dist", "logits"), outputs(model), strict=True):
        reference = torch.from_numpy(REFERENCE[f"{scale}/{name}"])
        value = value[:, ::EVERY]
        errors.append((value - reference).abs().max() / reference.abs().max())
    return float(max(errors))


@pytest.mark.parametrize("scale", PARAMETERS)
def test_number_of_parameters(scale):
    with torch.device("meta"):
        model = build(scale)
    assert sum(p.numel() for p in model.parameters()) + DFL == PARAMETERS[scale]


@pytest.mark.parametrize("scale", ["n", "m"])
def test_outputs_equal_ultralytics(scale):
    assert largest_error(load_recipe_weights(build(scale)), scale) < 1e-5


def no_activation(model):
    model.backbone.stage4[2].conv1.activate = nn.Identity()
    model.backbone.stage4[2].conv1.with_activation = False


def c3k_concatenated_the_other_way(model):
    block = model.backbone.stage3[1].blocks[0]
    weight = block.final_conv.conv.weight
    weight.data = torch.cat(weight.chunk(2, 1)[::-1], 1)


def other_eps(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5


def no_position(model):
    for module in model.modules():
        if isinstance(module, yolo11_blocks.Attention):
            module.pe.bn.weight.data.zero_()
            module.pe.bn.bias.data.zero_()


def neck_without_shortcut(model):
    for layer in model.neck.top_down_layers:
        for block in layer.blocks:
            block.add_identity = False


@pytest.mark.parametrize(
    "damage",
    [
        no_activation,
        c3k_concatenated_the_other_way,
        other_eps,
        no_position,
        neck_without_shortcut,
    ],
)
def test_the_comparison_notices(damage):
    model = load_recipe_weights(build("n"))
    damage(model)
    assert largest_error(model, "n") > 1e-4


@pytest.mark.parametrize("scale", ["n", "m", "n-p2"])
def test_converting_there_and_back_is_exact(scale):
    name = "yolo11_n-p2_area-aware_bg-max" if scale == "n-p2" else f"yolo11_{scale}"
    cfg = Config.fromfile(ROOT / f"configs/yolo11/{name}_8xb16-500e_coco.py")
    model = MODELS.build(cfg.model)
    weights = recipe_weights(model)
    ours, dropped = converter.from_ultralytics(weights, model)
    back = converter.to_ultralytics(ours, model)
    assert dropped == []
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[k], v) for k, v in weights.items())


@pytest.mark.parametrize("scale", ["n", "m"])
def test_names_and_shapes_are_those_of_ultralytics(scale):
    model = build(scale)
    state = model.state_dict()
    names = converter.ultralytics_names(list(state))
    shapes = {names[k]: str(tuple(v.shape)) for k, v in state.items()}
    (dfl,) = converter.constants(model)
    shapes[dfl] = "(1, 16, 1, 1)"
    keys = REFERENCE[f"{scale}/keys"].tolist()
    assert shapes == dict(zip(keys, REFERENCE[f"{scale}/shapes"].tolist(), strict=True))


@pytest.mark.parametrize("frozen", [-1, 2])
def test_frozen_stages_and_norm_eval(frozen):
    options = {"model.backbone.frozen_stages": frozen, "model.backbone.norm_eval": True}
    backbone = build("n", **options).backbone
    backbone.train()
    trained = {
        name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad
    }
    frozen_parts = {"stem", "stage1", "stage2"} if frozen == 2 else set()
    assert trained == {"stem", "stage1", "stage2", "stage3", "stage4"} - frozen_parts
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in norms)


def test_building_twice_gives_the_same():
    """mmyolo's Darknet keeps the last stage of the model before."""
    sizes = [sum(p.numel() for p in build(s).parameters()) for s in ("n", "m", "n")]
    assert sizes[0] == sizes[2] != sizes[1]


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="arch must be 'P5', got 'P6'"):
        build("n", **{"model.backbone.arch": "P6"})


@pytest.mark.parametrize("name", ["yolo11_n", "yolo11_n-p2"])
def test_levels_and_strides(name):
    middle = "_area-aware_bg-max" if "p2" in name else ""
    cfg = Config.fromfile(ROOT / f"configs/yolo11/{name}{middle}_8xb16-500e_coco.py")
    model = MODELS.build(cfg.model).eval()
    features = model.neck(model.backbone(torch.zeros(1, 3, 64, 96)))
    strides = model.bbox_head.head_module.featmap_strides
    assert strides == ([4] if "p2" in name else []) + [8, 16, 32]
    assert model.bbox_head.prior_generator.strides == [(s, s) for s in strides]
    for feature, stride in zip(features, strides, strict=True):
        assert feature.shape[2:] == (64 // stride, 96 // stride)


@pytest.mark.parametrize("size", [(64, 96)])
def test_compiled_outputs_are_equal(size):
    model = load_recipe_weights(build("n"))

    def network(x):
        return model.bbox_head.head_module(model.neck(model.backbone(x)))

    x = torch.from_numpy(recipe.image(96, 1))[..., : size[0], : size[1]]
    with torch.no_grad():
        eager, compiled = network(x), torch.compile(network, backend="aot_eager")(x)
    for a, b in zip(eager, compiled, strict=True):
        for ours, theirs in zip(a, b, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_training_step_in_half_precision_is_finite(dtype):
    model = build("n", **NARROW)
    model.init_weights()
    model.train()
    boxes = torch.tensor([[0, 3, 8.0, 8, 40, 30], [1, 7, 20, 5, 26, 12]])
    meta = [dict(batch_input_shape=(64, 64))] * 2
    images = torch.rand(2, 3, 64, 64)
    with torch.autocast("cpu", dtype):
        losses = model.loss(images, dict(bboxes_labels=boxes, img_metas=meta))
    loss = sum(v for k, v in losses.items() if "loss" in k)
    loss.backward()
    assert loss.isfinite()
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)
