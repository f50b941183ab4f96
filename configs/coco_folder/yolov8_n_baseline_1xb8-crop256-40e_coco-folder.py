# Any data set in COCO format, on a CPU: trains on native 256 px crops, which leaves
# small objects as large as they are, and validates on whole images. The stock loss.
#
#   DATA_ROOT=path/to/data python tools/train.py THIS_FILE
_base_ = "../_base_/yolov8_n_cpu.py"
# Below `_base_`, or MMEngine takes this file for one of its lazy configs.
import json
import pathlib

# ========================Frequently modified parameters======================
data_root = "{{$DATA_ROOT:data/my_data}}"
train_ann_file = "annotations/train.json"
train_images = "{{$TRAIN_IMAGES:train/}}"  # below data_root
val_ann_file = "annotations/val.json"
val_images = "{{$VAL_IMAGES:val/}}"
# The class names, in the order of the annotation file.
classes = tuple(
    category["name"]
    for category in json.loads(pathlib.Path(data_root, train_ann_file).read_text())[
        "categories"
    ]
)
max_epochs = 40
crop_size = (256, 256)
# ============================================================================

num_classes = len(classes)
metainfo = dict(classes=classes)

model = dict(
    bbox_head=dict(head_module=dict(num_classes=num_classes)),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    # Not MMYOLO's, which drops the ignored boxes
    dict(type="mmdet.LoadAnnotations", with_bbox=True),
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
    dict(type="mmdet.LoadAnnotations", with_bbox=True),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=train_ann_file,
        data_prefix=dict(img=train_images),
        metainfo=metainfo,
        pipeline=train_pipeline,
    )
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
)
test_dataloader = val_dataloader
_base_.val_evaluator[0].ann_file = f"{data_root}/{val_ann_file}"
val_evaluator = _base_.val_evaluator
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=10)
_base_.param_scheduler[0].end = 100
_base_.param_scheduler[1].T_max = max_epochs
param_scheduler = _base_.param_scheduler
