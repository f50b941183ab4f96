# … and small objects more than large ones.
_base_ = "./cascade-rcnn_r50_fpn_pos-weighted_1x_coco.py"

for head in _base_.model.roi_head.bbox_head:
    head.update(_base_.area_aware_bbox_head)
model = dict(
    rpn_head=_base_.area_aware_rpn_head,
    roi_head=dict(
        type="AreaAwareCascadeRoIHead", bbox_head=_base_.model.roi_head.bbox_head
    ),
)
del head
