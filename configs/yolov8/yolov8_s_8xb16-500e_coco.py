# Our head, assigner and ignored regions; the stock loss.
_base_ = [
    "mmyolo::yolov8/yolov8_s_syncbn_fast_8xb16-500e_coco.py",
    "../_base_/area_aware.py",
]
# Below `_base_`, or MMEngine takes this file for one of its lazy configs.
from mmareaaware.datasets import ignore_aware

model = _base_.area_aware_model
train_dataloader = ignore_aware(_base_.train_dataloader)
custom_hooks = ignore_aware([*_base_.custom_hooks, *_base_.area_aware_hooks])
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
