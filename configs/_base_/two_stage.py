# What the two-stage recipes add to the stock ones, besides ./area_aware.py.

# A classifier that sees mostly background learns to call everything background.
pos_weighted_rpn_loss = dict(
    type="PosWeightedCrossEntropyLoss",
    pos_weight=5.0,
    use_sigmoid=True,
    loss_weight=1.0,
)
pos_weighted_roi_loss = dict(
    type="PosWeightedCrossEntropyLoss",
    pos_weight=3.0,
    use_sigmoid=False,
    loss_weight=1.0,
)

pos_weighted_model = dict(
    rpn_head=dict(loss_cls=pos_weighted_rpn_loss),
    roi_head=dict(bbox_head=dict(loss_cls=pos_weighted_roi_loss)),
)

# Small objects up, by the inverse of their side length, bounded at 4. The RoI head
# tells the box head what some area weights ask of the image; the default asks nothing.
area_aware_rpn_head = dict(
    type="AreaAwareRPNHead", area_weight=dict(type="PowerAreaWeight")
)
area_aware_bbox_head = dict(
    type="AreaAwareShared2FCBBoxHead", area_weight=dict(type="PowerAreaWeight")
)
area_aware_two_stage_model = dict(
    rpn_head=area_aware_rpn_head,
    roi_head=dict(type="AreaAwareStandardRoIHead", bbox_head=area_aware_bbox_head),
)

# Warns when detections drop to none.
detection_monitor = dict(type="DetectionMonitorHook")
