# Backbone, optimizer and schedule of mmdet's Mask R-CNN with Swin-T.
_base_ = "./faster-rcnn_r50_fpn_pos-weighted_1x_coco.py"
# Below `_base_`, or MMEngine takes this file for one of its lazy configs.
from mmengine.hub import get_config

_swin = get_config("mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py")

model = dict(
    backbone=dict(_delete_=True, **_swin.model.backbone), neck=_swin.model.neck
)
optim_wrapper = dict(
    _delete_=True, clip_grad=_base_.optim_wrapper.clip_grad, **_swin.optim_wrapper
)
param_scheduler = _swin.param_scheduler
del _swin
