_base_ = "./faster-rcnn_swin-t_fpn_pos-weighted_1x_coco.py"

model = dict(
    rpn_head=_base_.area_aware_rpn_head,
    roi_head=dict(
        type="AreaAwareStandardRoIHead", bbox_head=_base_.area_aware_bbox_head
    ),
)
