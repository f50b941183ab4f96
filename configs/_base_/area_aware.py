# What every recipe of ours adds to the stock one it inherits. MMEngine lets no two
# bases define the same key, so the parts have their own names; a recipe puts them in.
custom_imports = dict(imports=["mmareaaware"], allow_failed_imports=False)

# Small objects up, by the inverse of their side length, bounded at 4.
area_aware_head = dict(
    type="AreaAwareYOLOv8Head",
    loss_cls=dict(type="AreaAwareBCELoss", area_weight=dict(type="PowerAreaWeight")),
)

# The same targets but for contested priors, at a cost that grows with the priors inside
# boxes and not with boxes × priors.
area_aware_train_cfg = dict(assigner=dict(type="SparseTaskAlignedAssigner"))

# λ_bg of the recipes with a penalty: 0 for 3 epochs, then up to 1000 over 10. That much
# because it goes with a mean over all background priors: docs/results.md.
area_aware_lambda_bg = dict(
    type="LossParamSchedulerHook", max_value=1000.0, burn_in=3, warmup=10
)

# Stops a run whose loss is no longer a number.
area_aware_hooks = [dict(type="mmdet.CheckInvalidLossHook", interval=50)]

area_aware_vis_backends = [
    dict(type="LocalVisBackend"),
    dict(type="TensorboardVisBackend"),
]

# Instead of the stock SGD; with a cosine, a recipe says which.
area_aware_adamw = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)

# `_base_ = 'mmyolo::...'` writes a `_scope_` into this dict that the function refuses.
area_aware_collate_fn = dict(_delete_=True, type="yolov5_collate")
