# The layers of area_aware.py for heads that have the area weight themselves, and keep
# the loss_cls of their recipe. Not trained yet: the numbers are those of YOLOv8.

# The penalty, with the gain of their loss_cls.
head_bg_max = dict(
    bbox_head=dict(loss_bg=dict(type="BgPenaltyLoss", mode="max", loss_weight=1.0))
)

# Small objects up.
head_area_weighted = dict(bbox_head=dict(area_weight=dict(type="PowerAreaWeight")))
