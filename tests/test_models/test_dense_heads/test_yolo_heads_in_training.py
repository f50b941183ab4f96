"""Each head: trained, killed, resumed and tested on the demo data."""

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.runner import Runner

DEMO = "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
NUM_CLASSES = 10
ON_HEAD = dict(
    area_weight=dict(type="PowerAreaWeight"), loss_bg=dict(type="BgPenaltyLoss")
)
pytestmark = pytest.mark.usefixtures("on_cpu")  # bits are compared
RECIPES = {
    "AreaAwareYOLOv5Head": "yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py",
    "AreaAwareYOLOv6Head": "yolov6/yolov6_n_syncbn_fast_8xb32-400e_coco.py",
    "AreaAwareYOLOv7Head": "yolov7/yolov7_tiny_syncbn_fast_8x16b-300e_coco.py",
    "AreaAwareYOLOXHead": "yolox/yolox_tiny_fast_8xb8-300e_coco.py",
    "AreaAwarePPYOLOEHead": "ppyoloe/ppyoloe_plus_s_fast_8xb8-80e_coco.py",
    "AreaAwareRTMDetHead": "rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py",
}


def tiny_model(recipe: str, head: str) -> ConfigDict:
    """The model of a stock recipe, narrow, with our head in it."""
    model = get_config(f"mmyolo::{recipe}").model
    model.data_preprocessor.update(
        type="IgnoreAwareDetDataPreprocessor",
        mean=[0.0] * 3,
        std=[255.0] * 3,
        batch_augments=None,
    )
    model.bbox_head.update(type=head, **ON_HEAD)
    model.bbox_head.head_module.num_classes = NUM_CLASSES
    for part in (model.backbone, model.neck, model.bbox_head.head_module):
        part.widen_factor = 0.125
    model.backbone.init_cfg = None
    for assigner in (model.get("train_cfg") or {}).values():
        if isinstance(assigner, dict) and "num_classes" in assigner:
            assigner.num_classes = NUM_CLASSES
    model.test_cfg.update(score_thr=0.0, nms_pre=50, max_per_img=20)
    return model


@pytest.mark.parametrize(("head", "recipe"), RECIPES.items(), ids=RECIPES)
def test_train_resume_and_test(head, recipe, root, tmp_path, demo_options):
    def runner(name, **options) -> Runner:
        cfg = Config.fromfile(root / DEMO)
        cfg.merge_from_dict(
            {k: v for k, v in demo_options.items() if not k.startswith("model.")}
        )
        cfg.model = tiny_model(recipe, head)
        cfg.merge_from_dict(
            {
                "work_dir": str(tmp_path / name),
                "experiment_name": f"{head}_{name}",
                "log_level": "ERROR",
                "optim_wrapper.paramwise_cfg.bypass_duplicate": True,  # shared layers
                "custom_hooks.3.burn_in": 0,
                "custom_hooks.3.schedule": "constant",
                **options,
            }
        )
        return Runner.from_cfg(cfg)

    def scalar(of, name):
        return of.message_hub.get_scalar(f"train/{name}").data[0]

    whole = runner("whole")
    whole.train()
    # As after a kill: what is left is the checkpoint of the first epoch
    resumed = runner(
        "resumed", load_from=str(tmp_path / "whole/epoch_1.pth"), resume=True
    )
    resumed.train()
    assert resumed.iter == whole.iter == 6
    for name in ("loss", "loss_bg", "loss_cls", "area_weight_mean", "num_pos"):
        values, expected = scalar(resumed, name), scalar(whole, name)
        assert len(expected) >= 6
        assert (values[-3:] == expected[-3:]).all(), name
    assert (scalar(whole, "loss_bg") > 0).all()
    metrics = resumed.test()
    assert "background/fp_per_image_score0.25" in metrics
