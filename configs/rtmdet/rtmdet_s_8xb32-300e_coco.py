# Our head and ignored regions; the stock loss.
_base_ = [
    "mmyolo::rtmdet/rtmdet_s_syncbn_fast_8xb32-300e_coco.py",
    "../_base_/area_aware.py",
    "../_base_/area_aware_heads.py",
]
# Below `_base_`, or MMEngine takes this file for one of its lazy configs.
from mmareaaware.datasets import ignore_aware

model = dict(
    data_preprocessor=dict(type="IgnoreAwareDetDataPreprocessor"),
    bbox_head=dict(type="AreaAwareRTMDetHead"),
)
train_dataloader = ignore_aware(_base_.train_dataloader)
custom_hooks = ignore_aware([*_base_.custom_hooks, *_base_.area_aware_hooks])
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
