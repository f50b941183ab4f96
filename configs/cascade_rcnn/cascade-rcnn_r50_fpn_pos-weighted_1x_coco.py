# Foreground counts 5 times in the RPN and 3 times in each of the three RoI heads.
_base_ = [
    "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    "../_base_/area_aware.py",
    "../_base_/two_stage.py",
]

for head in _base_.model.roi_head.bbox_head:
    head.loss_cls = _base_.pos_weighted_roi_loss
model = dict(
    rpn_head=dict(loss_cls=_base_.pos_weighted_rpn_loss),
    roi_head=dict(bbox_head=_base_.model.roi_head.bbox_head),
)
optim_wrapper = dict(clip_grad=dict(max_norm=10.0))
custom_hooks = [*_base_.area_aware_hooks, _base_.detection_monitor]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
del head
