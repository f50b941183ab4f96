"""One detector of each kind of head: trained, killed, resumed, tested."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.runner import Runner

pytestmark = pytest.mark.usefixtures("on_cpu")  # bits are compared
CHANNELS = 32
NUM_CLASSES = 10
OPTIONS = dict(
    num_classes=NUM_CLASSES,
    area_weight=dict(type="PowerAreaWeight"),
    loss_bg=dict(type="BgPenaltyLoss", lambda_bg=0.1),
)


def on_resnet(recipe: str, head: str, **head_options) -> ConfigDict:
    """A stock recipe with a narrow ResNet-18, without the head's losses changed."""
    model = get_config(f"mmdet::{recipe}").model
    channels = [8 * 2**i for i in model.backbone.out_indices]
    model.backbone.update(depth=18, base_channels=8, style="pytorch", init_cfg=None)
    model.backbone.update(norm_eval=False, norm_cfg=dict(type="BN"), frozen_stages=-1)
    model.neck.update(in_channels=channels, out_channels=CHANNELS)
    model.bbox_head.update(type=head, **head_options, **OPTIONS)
    return model


def fcos() -> ConfigDict:
    sizes = dict(in_channels=CHANNELS, feat_channels=CHANNELS, stacked_convs=1)
    recipe = "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"
    return on_resnet(recipe, "AreaAwareFCOSHead", **sizes)


def gfl() -> ConfigDict:
    sizes = dict(in_channels=CHANNELS, feat_channels=CHANNELS, stacked_convs=1)
    return on_resnet("gfl/gfl_r50_fpn_1x_coco.py", "AreaAwareGFLHead", **sizes)


def tood() -> ConfigDict:
    sizes = dict(in_channels=CHANNELS, feat_channels=CHANNELS, stacked_convs=1)
    model = on_resnet("tood/tood_r50_fpn_1x_coco.py", "AreaAwareTOODHead", **sizes)
    model.train_cfg.initial_epoch = 1  # each epoch has an assigner of its own
    return model


def rtmdet() -> ConfigDict:
    model = gfl()
    stock = get_config("mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py").model
    head = stock.bbox_head
    sizes = dict(in_channels=CHANNELS, feat_channels=CHANNELS, stacked_convs=1)
    head.update(type="AreaAwareMMDetRTMDetHead", norm_cfg=dict(type="BN"), **sizes)
    head.update(with_objectness=True, **OPTIONS)
    for of_the_other in ("exp_on_reg", "share_conv", "pred_kernel_size"):
        head.pop(of_the_other)
    model.neck.update(start_level=1, num_outs=3, add_extra_convs=False)
    stock.data_preprocessor.pop("batch_augments")
    stock.backbone, stock.neck = model.backbone, model.neck
    return stock


def rtmdet_sep_bn() -> ConfigDict:
    model = rtmdet()
    model.bbox_head.type = "AreaAwareRTMDetSepBNHead"
    model.bbox_head.update(with_objectness=False, exp_on_reg=False, share_conv=False)
    return model


def ssd() -> ConfigDict:
    """Its head on a feature pyramid; its own network is a large one."""
    model = gfl()
    stock = get_config("mmdet::ssd/ssd300_coco.py").model
    head = stock.bbox_head
    head.update(type="AreaAwareSSDHead", in_channels=(CHANNELS,) * 5, **OPTIONS)
    sides = [12, 24, 48, 72, 96, 120]
    head.anchor_generator.update(
        strides=[8, 16, 32, 64, 128],
        ratios=[[2]] * 5,
        min_sizes=sides[:-1],
        max_sizes=sides[1:],
    )
    head.anchor_generator.pop("basesize_ratio_range")
    stock.backbone, stock.neck, stock.bbox_head = model.backbone, model.neck, head
    return stock


def yolox() -> ConfigDict:
    model = get_config("mmdet::yolox/yolox_tiny_8xb8-300e_coco.py").model
    model.data_preprocessor.pop("batch_augments")
    model.backbone.update(widen_factor=0.125, deepen_factor=0.33)
    model.neck.update(in_channels=[32, 64, 128], out_channels=32, num_csp_blocks=1)
    sizes = dict(in_channels=32, feat_channels=32)
    model.bbox_head.update(type="AreaAwareMMDetYOLOXHead", **sizes, **OPTIONS)
    return model


def of_queries(recipe: str, head: str) -> ConfigDict:
    model = on_resnet(recipe, head)
    model.neck.out_channels = 256  # which DINO's decoder counts on
    model.num_queries = 20
    for part, num_layers in ((model.encoder, 1), (model.decoder, 2)):
        part.num_layers = num_layers
        part.layer_cfg.ffn_cfg.feedforward_channels = CHANNELS
    model.test_cfg.max_per_img = 20
    return model


def dino() -> ConfigDict:
    model = of_queries("dino/dino-4scale_r50_8xb2-12e_coco.py", "AreaAwareDINOHead")
    model.dn_cfg.group_cfg.num_dn_queries = 10
    return model


def deformable_detr() -> ConfigDict:
    recipe = "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py"
    return of_queries(recipe, "AreaAwareDeformableDETRHead")


def on_digits(model: ConfigDict, root, options: dict) -> Config:
    """A training of a few iterations; ``options`` for the demo of Faster R-CNN."""
    path = "configs/demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e"
    cfg = Config.fromfile(root / f"{path}_digits.py")
    of_others = ("model.", "custom_hooks.")
    cfg.merge_from_dict(
        {k: v for k, v in options.items() if not k.startswith(of_others)}
    )
    cfg.model = model
    cfg.model.test_cfg.score_thr = 0.0
    cfg.custom_hooks = cfg.custom_hooks[:2]
    cfg.log_level = "ERROR"
    return cfg


@pytest.fixture
def train(root, tmp_path, two_stage_options):
    """Trains a model on the digits; gives its Runner."""

    def run(model, name: str, **options) -> Runner:
        cfg = on_digits(model, root, two_stage_options)
        cfg.merge_from_dict(options)
        cfg.default_hooks.checkpoint.max_keep_ckpts = 2
        cfg.work_dir = str(tmp_path / name)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return run


MODELS = [
    ssd,
    gfl,
    tood,
    rtmdet,
    rtmdet_sep_bn,
    fcos,
    yolox,
    deformable_detr,
    dino,
]


@pytest.mark.parametrize("model", MODELS)
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(model, train, tmp_path):
    whole = train(model(), "whole")
    log = whole.message_hub.log_scalars
    for name in ("loss_bg", "area_weight_mean", "bg_penalty_mean", "num_pos"):
        values, _ = log[f"train/{name}"].data
        assert len(values) == 6
        assert all(values > 0)
    first = str(tmp_path / "whole/epoch_1.pth")
    resumed = train(model(), "resumed", load_from=first, resume=True)
    expected = whole.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert "coco/bbox_mAP" in resumed.test()
