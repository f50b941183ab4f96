_base_ = [
    "mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py",
    "../_base_/area_aware.py",
    "../_base_/two_stage.py",
]

model = _base_.pos_weighted_model
optim_wrapper = dict(clip_grad=dict(max_norm=10.0))
custom_hooks = [*_base_.area_aware_hooks, _base_.detection_monitor]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
