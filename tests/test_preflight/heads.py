"""The heads of 22 stock recipes, with something of this package in them."""

from copy import deepcopy
from functools import cache

from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

RECIPES = {
    "YOLOv5": "mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py",
    "YOLOv6": "mmyolo::yolov6/yolov6_n_syncbn_fast_8xb32-400e_coco.py",
    "YOLOv7": "mmyolo::yolov7/yolov7_tiny_syncbn_fast_8x16b-300e_coco.py",
    "YOLOv8": "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py",
    "YOLOv5-u": "mmyolo::yolov5/yolov5u/yolov5u_n_syncbn_fast_8xb16-300e_coco.py",
    "YOLOX": "mmyolo::yolox/yolox_tiny_fast_8xb8-300e_coco.py",
    "YOLOX of mmdet": "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py",
    "PP-YOLOE+": "mmyolo::ppyoloe/ppyoloe_plus_s_fast_8xb8-80e_coco.py",
    "RTMDet": "mmyolo::rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py",
    "RTMDet of mmdet": "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "RetinaNet": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    "ATSS": "mmdet::atss/atss_r50_fpn_1x_coco.py",
    "FCOS": "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "GFL": "mmdet::gfl/gfl_r50_fpn_1x_coco.py",
    "TOOD": "mmdet::tood/tood_r50_fpn_1x_coco.py",
    "DINO": "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
    "SSD": "mmdet::ssd/ssd300_coco.py",
    "Faster R-CNN": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "Mask R-CNN": "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "Cascade R-CNN": "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    "RPN": "mmdet::rpn/rpn_r50_fpn_1x_coco.py",
}
OF_DETR = dict(num_pred_layer=2, share_pred_layer=False, as_two_stage=True)


@cache
def _recipe(name: str) -> ConfigDict:
    if name == "YOLO11":
        model = deepcopy(_recipe("YOLOv8"))
        model.bbox_head.head_module.type = "YOLO11HeadModule"
        return model
    return get_config(RECIPES[name]).model


def recipe(name: str) -> ConfigDict:
    """The config of a model, to be changed."""
    return deepcopy(_recipe(name))


def scope_of(name: str) -> str:
    """The library that a recipe is from."""
    return RECIPES.get(name, "mmyolo::").partition("::")[0]


def head_of(model: ConfigDict) -> tuple[str, ConfigDict]:
    """The head that gives boxes their class, with its dotted path."""
    if "roi_head" in model:
        head = model.roi_head.bbox_head
        if isinstance(head, list):
            return "model.roi_head.bbox_head.0", head[0]
        return "model.roi_head.bbox_head", head
    key = "rpn_head" if "rpn_head" in model else "bbox_head"
    return f"model.{key}", model[key]


def build_heads(name: str, model: ConfigDict) -> nn.Module:
    """A module that holds the heads of a model as its detector does."""
    holder = nn.Module()
    train_cfg = model.get("train_cfg") or {}
    for key in ("bbox_head", "rpn_head", "roi_head"):
        if key not in model:
            continue
        head = deepcopy(model[key])
        stage = key.partition("_")[0].replace("roi", "rcnn")
        own = train_cfg.get(stage, train_cfg) or None
        head.setdefault("train_cfg", own)
        head.setdefault("test_cfg", None)
        if key == "rpn_head":
            head.num_classes = 1
        if head.type == "DINOHead":
            head.update(OF_DETR)
        with DefaultScope.overwrite_default_scope(scope_of(name)):
            setattr(holder, key, MODELS.build(head))
    return holder
