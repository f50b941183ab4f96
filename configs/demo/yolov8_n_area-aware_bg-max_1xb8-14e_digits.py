# A laptop-sized training: 600 images of digits, 6 to 96 px, about 6 minutes on 2 cores.
_base_ = [
    "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py",
    "../_base_/area_aware.py",
]

# ========================Frequently modified parameters======================
data_root = "data/digits/"  # python tools/dataset_converters/make_digits.py
num_classes = 10
max_epochs = 14
batch_size = 8
base_lr = 2e-3
lambda_bg = 1.0
# ============================================================================

model = dict(
    bbox_head=dict(
        head_module=dict(num_classes=num_classes),
        loss_bg=dict(type="BgPenaltyLoss", mode="max"),
        **_base_.area_aware_head,
    ),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
)

# No flips: a mirrored 2 is no 2.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="YOLOv5HSVRandomAug"),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape"),
    ),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    # The images have the size of the network input; this adds the keys of a resize.
    dict(type="YOLOv5KeepRatioResize", scale=(256, 256)),
    dict(
        type="LetterResize",
        scale=(256, 256),
        allow_scale_up=False,
        pad_val=dict(img=114),
    ),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=(
            "img_id",
            "img_path",
            "ori_shape",
            "img_shape",
            "scale_factor",
            "pad_param",
        ),
    ),
]

# The data are small: loading beside the training would only take a core from it.
dataloader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(
    batch_size=batch_size,
    collate_fn=_base_.area_aware_collate_fn,
    dataset=dict(
        type="DigitsDataset",
        data_root=data_root,
        ann_file="annotations/train.json",
        data_prefix=dict(img="train/"),
        pipeline=train_pipeline,
    ),
    **dataloader,
)
val_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        type="DigitsDataset",
        data_root=data_root,
        ann_file="annotations/val.json",
        data_prefix=dict(img="val/"),
        pipeline=test_pipeline,
    ),
    **dataloader,
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(
        type="mmdet.CocoMetric",
        ann_file=data_root + "annotations/val.json",
        metric="bbox",
        proposal_nums=(100, 1, 10),
    ),
    dict(type="BackgroundFPMetric"),
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=7, dynamic_intervals=None)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=base_lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=50),
    dict(
        type="CosineAnnealingLR",
        eta_min=base_lr * 0.01,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    param_scheduler=dict(_delete_=True, type="ParamSchedulerHook"),
    logger=dict(interval=25),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
)
custom_hooks = [
    _base_.custom_hooks[0],  # EMA
    dict(type="EpochSeedHook"),
    dict(
        type="LossParamSchedulerHook",
        schedule="linear",
        max_value=lambda_bg,
        burn_in=2,
        warmup=5,
    ),
    *_base_.area_aware_hooks,
]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
randomness = dict(seed=0)
