# AdamW and a cosine instead of SGD and a straight line: converges with less tuning on
# small data sets.
_base_ = "./yolo11_s_bg-max_8xb16-500e_coco.py"

base_lr = 1e-3

_base_.area_aware_adamw.optimizer.lr = base_lr
optim_wrapper = _base_.area_aware_adamw
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=2000),
    dict(
        type="CosineAnnealingLR",
        eta_min=base_lr * 0.01,
        T_max=_base_.train_cfg.max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(param_scheduler=dict(_delete_=True, type="ParamSchedulerHook"))
