_base_ = []  # or MMEngine takes this file for one of its lazy configs
from mmareaaware import switching

# What our recipes add to a stock one, layer by layer. MMEngine lets no two bases define
# the same key, so the parts have their own names; a recipe puts them in.
custom_imports = dict(imports=["mmareaaware"], allow_failed_imports=False)

# 1. Ours, with the stock loss: ignored regions are ignored, crowds cost little, and the
# losses are there to be changed.
area_aware_model = dict(
    data_preprocessor=dict(type="IgnoreAwareDetDataPreprocessor"),
    bbox_head=dict(
        type="AreaAwareYOLOv8Head",
        loss_cls=dict(type="AreaAwareBCELoss", area_weight=None),
    ),
    train_cfg=dict(assigner=dict(type="SparseTaskAlignedAssigner")),
)

# Stops a run whose loss is no longer a number.
area_aware_hooks = [dict(type="mmdet.CheckInvalidLossHook", interval=50)]

area_aware_vis_backends = [
    dict(type="LocalVisBackend"),
    dict(type="TensorboardVisBackend"),
]

# 2. The penalty, and its λ_bg: from 0 in the 4th epoch up over 10 to what loss_bg has,
# by default 5. (The numbers are in the package, which switches it on in any config.)
bg_max = dict(bbox_head=dict(loss_bg=dict(type="BgPenaltyLoss", mode="max")))
bg_focal = dict(bbox_head=dict(loss_bg=dict(type="BgPenaltyLoss", mode="focal")))
rising_lambda_bg = dict(switching.RISING_LAMBDA_BG)

# The same for the dense heads of mmdet, whose recipes are of 12 epochs, and whose own
# classification losses have the gain 1.
dense_bg_max = dict(loss_bg=dict(type="BgPenaltyLoss", mode="max", loss_weight=1.0))
rising_lambda_bg_1x = dict(type="LossParamSchedulerHook", burn_in=1, warmup=4)

# 3. Small objects up, by the inverse of their side length, bounded at 4. Last, since it
# has not helped yet: docs/results.md.
area_weighted = dict(
    bbox_head=dict(
        loss_cls=dict(area_weight=dict(_delete_=True, type="PowerAreaWeight"))
    )
)

dense_area_weighted = dict(bbox_head=dict(area_weight=dict(type="PowerAreaWeight")))

# Instead of the stock SGD; with a cosine, a recipe says which.
area_aware_adamw = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
