_base_ = [
    "mmyolo::yolov8/yolov8_m_syncbn_fast_8xb16-500e_coco.py",
    "../_base_/area_aware.py",
]

model = dict(bbox_head=_base_.area_aware_head, train_cfg=_base_.area_aware_train_cfg)
train_dataloader = dict(collate_fn=_base_.area_aware_collate_fn)
custom_hooks = _base_.custom_hooks + _base_.area_aware_hooks
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
