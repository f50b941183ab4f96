# The penalty on confident background, on class score × centerness.
_base_ = [
    "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "../_base_/area_aware.py",
]

model = dict(bbox_head=dict(type="AreaAwareFCOSHead", **_base_.dense_bg_max))
optim_wrapper = dict(clip_grad=dict(max_norm=10.0))
custom_hooks = [
    _base_.rising_lambda_bg_1x,
    *_base_.area_aware_hooks,
    dict(type="DetectionMonitorHook"),
]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
