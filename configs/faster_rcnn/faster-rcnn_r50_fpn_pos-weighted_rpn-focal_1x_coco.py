# A next step: focal loss in the RPN, on all anchors instead of 256, averaged over the
# positives. (mmdet has no focal loss for the softmax of the RoI head.)
_base_ = "./faster-rcnn_r50_fpn_pos-weighted_1x_coco.py"

model = dict(
    rpn_head=dict(
        loss_cls=dict(
            _delete_=True,
            type="FocalLoss",
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=1.0,
        )
    ),
    train_cfg=dict(rpn=dict(sampler=dict(_delete_=True, type="PseudoSampler"))),
)
