# … and small objects more than large ones.
_base_ = "./mask-rcnn_r50_fpn_pos-weighted_1x_coco.py"

model = dict(
    rpn_head=_base_.area_aware_rpn_head,
    roi_head=dict(
        type="AreaAwareStandardRoIHead", bbox_head=_base_.area_aware_bbox_head
    ),
)
