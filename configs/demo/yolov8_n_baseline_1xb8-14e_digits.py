# A laptop-sized training: 600 images of digits, 6 to 96 px, about 6 minutes on 2 cores.
# The stock loss.
_base_ = "../_base_/yolov8_n_cpu.py"

# ========================Frequently modified parameters======================
data_root = "data/digits/"  # python tools/dataset_converters/make_digits.py
num_classes = 10
max_epochs = 14
# ============================================================================

model = dict(
    bbox_head=dict(head_module=dict(num_classes=num_classes)),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
)

# No flips: a mirrored 2 is no 2.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    # Not MMYOLO's, which drops the ignored boxes
    dict(type="mmdet.LoadAnnotations", with_bbox=True),
    dict(type="YOLOv5HSVRandomAug"),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape"),
    ),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    # The images have the size of the network input; this adds the keys of a resize.
    dict(type="mmdet.Resize", scale_factor=1.0, keep_ratio=True),
    dict(type="mmdet.LoadAnnotations", with_bbox=True),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

train_dataloader = dict(
    dataset=dict(
        type="DigitsDataset",
        data_root=data_root,
        ann_file="annotations/train.json",
        data_prefix=dict(img="train/"),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type="DigitsDataset",
        data_root=data_root,
        ann_file="annotations/val.json",
        data_prefix=dict(img="val/"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
_base_.val_evaluator[0].ann_file = data_root + "annotations/val.json"
val_evaluator = _base_.val_evaluator
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=7)
_base_.param_scheduler[1].T_max = max_epochs
param_scheduler = _base_.param_scheduler
