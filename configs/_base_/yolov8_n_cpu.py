# YOLOv8-n from scratch on a CPU, ours with the stock loss: what the recipes for small
# machines share. A recipe adds data, classes and epochs.
_base_ = [
    "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py",
    "./area_aware.py",
]

base_lr = 2e-3

model = _base_.area_aware_model

# No worker processes: on a CPU they only take cores from the training.
dataloader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(
    batch_size=8, collate_fn=dict(type="ignore_aware_collate"), **dataloader
)
val_dataloader = dict(**dataloader)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type="SizeBinnedCocoMetric"),
    dict(type="BackgroundFPMetric"),
]
test_evaluator = val_evaluator

train_cfg = dict(dynamic_intervals=None)
# BFloat16OptimWrapper in the environment: faster where the processor is made for it
_base_.area_aware_adamw.type = "{{$OPTIM_WRAPPER:OptimWrapper}}"
_base_.area_aware_adamw.optimizer.lr = base_lr
optim_wrapper = _base_.area_aware_adamw
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=50),
    dict(
        type="CosineAnnealingLR",
        eta_min=base_lr * 0.01,
        T_max=-1,  # the recipe's number of epochs
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    param_scheduler=dict(_delete_=True, type="ParamSchedulerHook"),
    logger=dict(interval=25),
    # One is deleted before the next is written: with two, a kill costs an epoch at most
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best=None),
)
custom_hooks = [
    *[hook for hook in _base_.custom_hooks if hook.type == "EMAHook"],
    dict(type="EpochSeedHook"),
    *_base_.area_aware_hooks,
]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
randomness = dict(seed=0)
