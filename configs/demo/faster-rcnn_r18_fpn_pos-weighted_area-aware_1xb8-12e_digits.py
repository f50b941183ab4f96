# A laptop-sized Faster R-CNN from scratch: narrow, on the demo's digits, 6 to 96 px,
# about 7 minutes on 2 cores.
_base_ = "../faster_rcnn/faster-rcnn_r50_fpn_pos-weighted_area-aware_1x_coco.py"

# ========================Frequently modified parameters======================
data_root = "data/digits/"  # python tools/dataset_converters/make_digits.py
num_classes = 10
max_epochs = 12
base_lr = 1e-3
# ============================================================================

channels = 48
model = dict(
    backbone=dict(
        depth=18,
        base_channels=24,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=channels),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[2]),  # 8 to 128 px
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(
            in_channels=channels, fc_out_channels=256, num_classes=num_classes
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=150),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=150)),
)

# No flips: a mirrored 2 is no 2.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    # The images have the size of the network input; this adds the keys of a resize.
    dict(type="Resize", scale_factor=1.0, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

# No worker processes: on a CPU they only take cores from the training.
dataloader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=8,
    batch_sampler=None,
    dataset=dict(
        _delete_=True,
        type="CocoDataset",
        metainfo=dict(classes=tuple("0123456789")),
        data_root=data_root,
        ann_file="annotations/train.json",
        data_prefix=dict(img="train/"),
        pipeline=train_pipeline,
    ),
    **dataloader,
)
val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        _delete_=True,
        type="CocoDataset",
        metainfo=dict(classes=tuple("0123456789")),
        data_root=data_root,
        ann_file="annotations/val.json",
        data_prefix=dict(img="val/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
    **dataloader,
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type="CocoMetric", ann_file=data_root + "annotations/val.json", metric="bbox"),
    dict(type="BackgroundFPMetric"),
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=6)
_base_.area_aware_adamw.optimizer.lr = base_lr
optim_wrapper = _base_.area_aware_adamw
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
    logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=1)
)
custom_hooks = [
    dict(type="EpochSeedHook"),
    *_base_.area_aware_hooks,
    dict(type="DetectionMonitorHook", interval=25, burn_in=300),
]
randomness = dict(seed=0)
