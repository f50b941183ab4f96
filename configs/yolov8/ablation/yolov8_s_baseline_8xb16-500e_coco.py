# The four published settings of the penalty, whose λ_bg are too small to be felt
# (docs/results.md), and four that can be told apart. All in the published form, a mean
# over the background; nothing but the penalty differs.
_base_ = "../yolov8_s_8xb16-500e_coco.py"

published = dict(type="BgPenaltyLoss", normalizer="background")
published_max = dict(bbox_head=dict(loss_bg=dict(published, mode="max")))
published_focal = dict(bbox_head=dict(loss_bg=dict(published, mode="focal")))
