# The four published settings of the penalty, whose λ_bg are too small to be felt
# (docs/results.md), and four that can be told apart. All in the published form, a mean
# over the background; nothing but the penalty differs.
_base_ = "../yolov8_s_8xb16-500e_coco.py"

published_max = dict(
    bbox_head=dict(
        loss_bg=dict(type="BgPenaltyLoss", mode="max", normalizer="background")
    )
)
published_focal = dict(
    bbox_head=dict(
        loss_bg=dict(type="BgPenaltyLoss", mode="focal", normalizer="background")
    )
)
