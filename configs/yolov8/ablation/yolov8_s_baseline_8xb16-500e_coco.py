# The penalty as a mean over the background: four settings whose λ_bg are too small to
# be felt (docs/results.md), and four that can be told apart; nothing else differs.
_base_ = "../yolov8_s_8xb16-500e_coco.py"

mean = dict(type="BgPenaltyLoss", normalizer="background")
mean_max = dict(bbox_head=dict(loss_bg=dict(mean, mode="max")))
mean_focal = dict(bbox_head=dict(loss_bg=dict(mean, mode="focal")))
