# Its focal loss has a weight for foreground; the small objects are up to the head.
_base_ = [
    "mmdet::atss/atss_r50_fpn_1x_coco.py",
    "../_base_/area_aware.py",
]

model = dict(
    bbox_head=dict(type="AreaAwareATSSHead", area_weight=dict(type="PowerAreaWeight"))
)
optim_wrapper = dict(clip_grad=dict(max_norm=10.0))
custom_hooks = [*_base_.area_aware_hooks, dict(type="DetectionMonitorHook")]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
