# The penalty on confident background, on the joint score of class and quality.
_base_ = [
    "mmdet::gfl/gfl_r50_fpn_1x_coco.py",
    "../_base_/area_aware.py",
]

model = dict(bbox_head=dict(type="AreaAwareGFLHead", **_base_.dense_bg_max))
optim_wrapper = dict(clip_grad=dict(max_norm=10.0))
custom_hooks = [
    _base_.rising_lambda_bg_1x,
    *_base_.area_aware_hooks,
    dict(type="DetectionMonitorHook"),
]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
