# VisDrone2019-DET, 10 classes, most objects under 32 px. Make the annotations with
# tools/dataset_converters/visdrone2coco.py.
_base_ = "./yolov8_s_area-aware_bg-max_8xb16-500e_coco.py"

# ========================Frequently modified parameters======================
data_root = "data/visdrone/"
classes = (
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
)
max_epochs = 300
close_mosaic_epochs = 10
# ============================================================================

num_classes = len(classes)
metainfo = dict(classes=classes)

model = dict(
    bbox_head=dict(head_module=dict(num_classes=num_classes)),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
    # Crowded: hundreds of objects an image. (COCO AP looks at the first 100.)
    test_cfg=dict(max_per_img=500),
)
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file="annotations/train.json",
        data_prefix=dict(img="VisDrone2019-DET-train/images/"),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=False, min_size=0),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file="annotations/val.json",
        data_prefix=dict(img="VisDrone2019-DET-val/images/"),
        metainfo=metainfo,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/val.json")
test_evaluator = val_evaluator

train_cfg = dict(
    max_epochs=max_epochs,
    dynamic_intervals=[(max_epochs - close_mosaic_epochs, 1)],
)
default_hooks = dict(param_scheduler=dict(max_epochs=max_epochs))
_base_.custom_hooks[1].switch_epoch = max_epochs - close_mosaic_epochs
custom_hooks = _base_.custom_hooks
