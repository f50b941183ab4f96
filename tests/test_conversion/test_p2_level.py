"""Networks of three levels, an eighth as wide as L, and what becomes of them."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmareaaware.conversion.p2_layers import Branch, silu_moments, stretch
from mmareaaware.conversion.p2_level import add_p2_level
from tests.conftest import ROOT

YOLOV8 = ROOT / "configs/yolov8/yolov8_n_8xb16-500e_coco.py"
YOLO11 = ROOT / "configs/yolo11/yolo11_n_8xb16-500e_coco.py"
YOLO11_M = ROOT / "configs/yolo11/yolo11_m_8xb16-500e_coco.py"
HEAD = "bbox_head.head_module"
CHANNELS = [128, 256, 512, 1024]
IN_CHANNELS = {
    YOLOV8: CHANNELS,
    YOLO11: [256, 512, 512, 1024],
    YOLO11_M: [256, 512, 512, 512],
}
STRIDES = [4, 8, 16, 32]


def build(config, classes: int, p2: bool = False):
    model = Config.fromfile(config).model
    for part in (model.backbone, model.neck, model.bbox_head.head_module):
        part.widen_factor = 0.125
    model.bbox_head.head_module.num_classes = classes
    model.train_cfg.assigner.num_classes = classes
    if p2:
        out = [128, *model.neck.out_channels]
        model.backbone.out_indices = (1, 2, 3, 4)
        model.neck.update(in_channels=IN_CHANNELS[config], out_channels=out)
        model.bbox_head.head_module.update(in_channels=out, featmap_strides=STRIDES)
        model.bbox_head.prior_generator.strides = STRIDES
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        return MODELS.build(model).eval()


def settle(model: nn.Module) -> nn.Module:
    """Norms with the statistics of data, and not 1 and 0, as a trained network has."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -1, 1)
    model.train()
    with torch.no_grad():
        for _ in range(4):
            model.neck(model.backbone(torch.randn(4, 3, 128, 128)))
            model.bbox_head.head_module(
                model.neck(model.backbone(torch.randn(4, 3, 128, 128)))
            )
    return model.eval()


@pytest.fixture(params=[YOLOV8, YOLO11, YOLO11_M], ids=["v8", "11n", "11m"])
def config(request):
    return request.param


@torch.no_grad()
def outputs(model: nn.Module, images):
    features = model.neck(model.backbone(images))
    return features, *model.bbox_head.head_module(features)


def relative(new, old) -> float:
    return ((new - old).square().mean().sqrt() / old.std()).item()


def test_the_old_levels_say_what_they_said(config):
    old = settle(build(config, classes=80))
    new = build(config, classes=80, p2=True)
    state, _ = add_p2_level(old.state_dict())
    new.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 128, 128)
    before, after = outputs(old, images), outputs(new, images)
    for was, now in zip(before, after, strict=True):  # features, classes, boxes
        for level in range(3):
            assert relative(now[level + 1], was[level]) < 0.05
    assert after[0][0].shape == (2, before[0][0].shape[1] // 2, 32, 32)


def test_p2_starts_as_the_enlarged_p3(config):
    old = settle(build(config, classes=80))
    new = build(config, classes=80, p2=True)
    new.load_state_dict(add_p2_level(old.state_dict())[0])
    images = torch.randn(2, 3, 128, 128)
    (p3, *_), _, _ = outputs(old, images)
    (p2, *_), _, _ = outputs(new, images)
    enlarged = p3.repeat_interleave(2, 2).repeat_interleave(2, 3)
    together = torch.corrcoef(
        torch.cat([p2.transpose(0, 1).flatten(1), enlarged.transpose(0, 1).flatten(1)])
    )[: p2.shape[1], p2.shape[1] :]
    assert together.max(1).values.min() > 0.9
    assert together.argmax(1).unique().numel() == p2.shape[1]


def test_every_new_layer_learns(config):
    old, new = settle(build(config, 80)), build(config, 80, p2=True)
    new.load_state_dict(add_p2_level(old.state_dict())[0])
    new.train()
    optimizer = torch.optim.SGD(new.parameters(), 0.1)
    for _ in range(2):  # what is read through zeros has a gradient in the second
        optimizer.zero_grad()
        features = new.neck(new.backbone(torch.randn(2, 3, 128, 128)))
        classes, *_, boxes = new.bbox_head.head_module(features)
        sum(x.square().mean() for x in (*classes, *boxes)).backward()
        optimizer.step()
    unused = [n for n, p in new.named_parameters() if not p.grad.abs().sum()]
    assert not unused


def test_narrow_branches_where_there_are_few_classes(config):
    """The class branch is as wide as the finest level, which is now half as wide."""
    old, new = settle(build(config, classes=5)), build(config, classes=5, p2=True)
    state, origins = add_p2_level(old.state_dict())
    new.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 128, 128)
    before, after = outputs(old, images)[1], outputs(new, images)[1]
    for was, now in zip(before, after[1:], strict=True):
        assert torch.corrcoef(torch.stack([was.flatten(), now.flatten()]))[0, 1] > 0.5
    narrowed = [o.layer for o in origins if "narrowed from 32 to 16" in o.how]
    assert narrowed == [f"{HEAD}.cls_preds.{i}" for i in range(4)]


def test_every_entry_is_accounted_for(config):
    old = build(config, classes=80).state_dict()
    before = {key: value.clone() for key, value in old.items()}
    state, origins = add_p2_level(old)
    assert sum(origin.entries for origin in origins) == len(state)
    assert all(torch.equal(before[key], old[key]) for key in before)
    for origin in origins:
        if origin.how == "loaded":
            pairs = [
                (value, old[key.replace(origin.layer, origin.source, 1)])
                for key, value in state.items()
                if key.startswith(f"{origin.layer}.")
            ]
            assert len(pairs) == origin.entries
            assert all(torch.equal(a, b) for a, b in pairs)
    used = {origin.source for origin in origins if origin.how.startswith("loaded")}
    assert all(key.startswith(tuple(f"{u}." for u in used)) for key in old)


@pytest.mark.parametrize(
    "key",
    [
        "backbone.stage1.1.final_conv.conv.weight",
        "backbone.stage3.0.bn.running_var",
        "neck.top_down_layers.0.blocks.0.conv1.conv.weight",
        "neck.bottom_up_layers.1.final_conv.bn.bias",
        f"{HEAD}.cls_preds.1.2.bias",
        f"{HEAD}.reg_preds.0.1.conv.weight",
    ],
)
def test_a_missing_entry(key):
    state = build(YOLOV8, classes=80).state_dict()
    del state[key]
    with pytest.raises(ValueError, match=f"1 entries are missing: {key}"):
        add_p2_level(state)


@pytest.mark.parametrize(
    "key",
    [
        "neck.reduce_layers.2.conv.weight",
        f"{HEAD}.convs_pred.0.weight",
        "teacher.backbone.stem.conv.weight",
    ],
)
def test_an_unknown_entry(key):
    state = build(YOLOV8, classes=80).state_dict()
    state[key] = torch.zeros(1)
    with pytest.raises(ValueError, match=f"of no YOLOv8 or YOLO11: {key}"):
        add_p2_level(state)


def test_four_levels_are_not_made_five():
    state = build(YOLOV8, classes=80, p2=True).state_dict()
    with pytest.raises(ValueError, match=r"indices \[0, 1, 2\]: .* three levels"):
        add_p2_level(state)


def test_a_p3_that_cannot_be_halved():
    state = build(YOLOV8, classes=80).state_dict()
    for key in ("weight", "bias"):
        name = f"neck.top_down_layers.1.final_conv.bn.{key}"
        state[name] = state[name][:24]
    with pytest.raises(ValueError, match=r"P3 has 24 channels: .* multiple of 8"):
        add_p2_level(state)


def test_moments_of_silu():
    mean, std = torch.tensor([-1.0, 0.0, 3.0]), torch.tensor([0.3, 1.0, 2.0])
    torch.manual_seed(0)
    u = mean[:, None] + std[:, None] * torch.randn(3, 400_000)
    out = nn.functional.silu(u)
    expected = [out.mean(1), out.var(1), ((out - out.mean(1)[:, None]) * u).mean(1)]
    for found, wanted in zip(silu_moments(mean, std), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.003)


def test_distances_are_as_long_in_pixels():
    """A side of 3.5 strides of 8 px is one of 7 strides of 4 px."""
    j = torch.arange(16.0)
    bias = torch.stack([-((j - d).square()) for d in (1, 2, 3.5, 6)]).flatten()
    weights = {"2.weight": torch.zeros(64, 8, 1, 1), "2.bias": bias}
    stretch(weights)
    found = weights["2.bias"].unflatten(0, (4, 16)).softmax(1) @ j
    torch.testing.assert_close(found, torch.tensor([2.0, 4, 7, 12]), atol=0.15, rtol=0)


@pytest.mark.parametrize("config", [YOLOV8, YOLO11], ids=["v8", "11"])
def test_channels_that_are_constant_can_go(config):
    """A channel that is its mean everywhere, the border aside, makes no difference."""
    model = settle(build(config, classes=80))
    module = model.bbox_head.head_module.cls_preds[0]
    branch = Branch(module.state_dict())
    gamma, beta = torch.ones(32), torch.zeros(32)
    kept = torch.arange(0, 32, 2)
    gamma[1::2] = 0
    beta[1::2] = 1.3
    x = nn.functional.silu(gamma.view(1, -1, 1, 1) * torch.randn(2, 32, 16, 16))
    x[:, 1::2] = nn.functional.silu(torch.tensor(1.3))
    if config is YOLO11:  # whose first convolution is depthwise, and has its own norm
        branch.weights["0.0.bn.weight"][1::2] = 0
        module.load_state_dict(branch.weights)
    with torch.no_grad():
        wanted = module(x)
    branch.keep(0, kept, gamma, beta)
    narrow = build(config, classes=80, p2=True).bbox_head.head_module.cls_preds[0]
    narrow.load_state_dict(branch.weights)
    with torch.no_grad():
        found = narrow.eval()(x[:, kept])
    inside = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-3, atol=1e-3)
