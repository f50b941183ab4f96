# The penalty on confident background, on the class score of the queries without a box.
_base_ = [
    "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
    "../_base_/area_aware.py",
]

model = dict(bbox_head=dict(type="AreaAwareDINOHead", **_base_.dense_bg_max))
custom_hooks = [_base_.rising_lambda_bg_1x, *_base_.area_aware_hooks]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
