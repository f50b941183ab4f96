# Any data set in COCO format, on a CPU: trains on native 256 px crops, which leaves
# small objects as large as they are, and validates on whole images.
#
#   DATA_ROOT=path/to/data python tools/train.py THIS_FILE
_base_ = [
    "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py",
    "../_base_/area_aware.py",
]
# Below `_base_`, or MMEngine takes this file for one of its lazy configs.
import json
import pathlib

# ========================Frequently modified parameters======================
data_root = "{{$DATA_ROOT:data/my_data}}"
train_ann_file = "annotations/train.json"
train_images = "train/"
val_ann_file = "annotations/val.json"
val_images = "val/"
# The class names, in the order of the annotation file.
classes = tuple(
    category["name"]
    for category in json.loads(pathlib.Path(data_root, train_ann_file).read_text())[
        "categories"
    ]
)
max_epochs = 40
batch_size = 8
base_lr = 2e-3
crop_size = (256, 256)
lambda_bg = 1.0
# ============================================================================

num_classes = len(classes)
metainfo = dict(classes=classes)

model = dict(
    bbox_head=dict(
        head_module=dict(num_classes=num_classes),
        loss_bg=dict(type="BgPenaltyLoss", mode="max"),
        **_base_.area_aware_head,
    ),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="mmdet.RandomCrop", crop_size=crop_size, allow_negative_crop=True),
    # Images smaller than the crop
    dict(type="mmdet.Pad", size=crop_size, pad_val=dict(img=(114, 114, 114))),
    dict(type="YOLOv5HSVRandomAug"),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape"),
    ),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmdet.Resize", scale_factor=1.0, keep_ratio=True),
    dict(type="mmdet.Pad", size_divisor=32, pad_val=dict(img=(114, 114, 114))),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

# No worker processes: on a CPU they only take cores from the training.
dataloader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(
    batch_size=batch_size,
    collate_fn=_base_.area_aware_collate_fn,
    dataset=dict(
        data_root=data_root,
        ann_file=train_ann_file,
        data_prefix=dict(img=train_images),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
    **dataloader,
)
val_dataloader = dict(
    batch_size=1,  # the images may differ in size
    dataset=dict(
        data_root=data_root,
        ann_file=val_ann_file,
        data_prefix=dict(img=val_images),
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
    **dataloader,
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(
        type="mmdet.CocoMetric",
        ann_file=f"{data_root}/{val_ann_file}",
        metric="bbox",
        proposal_nums=(100, 1, 10),
    ),
    dict(type="BackgroundFPMetric"),
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=10, dynamic_intervals=None)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=base_lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(
        type="CosineAnnealingLR",
        eta_min=base_lr * 0.01,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    param_scheduler=dict(_delete_=True, type="ParamSchedulerHook"),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
)
custom_hooks = [
    _base_.custom_hooks[0],  # EMA
    dict(type="EpochSeedHook"),
    dict(
        type="LossParamSchedulerHook",
        schedule="linear",
        max_value=lambda_bg,
        burn_in=3,
        warmup=10,
    ),
    *_base_.area_aware_hooks,
]
visualizer = dict(vis_backends=_base_.area_aware_vis_backends)
randomness = dict(seed=0)
