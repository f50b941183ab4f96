# On a GPU: whole images at 640 px, half precision, from a network that was trained on
# COCO. Judged by the classes with enough boxes. The stock loss.
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/train.py THIS_FILE
_base_ = "./yolov8_n_baseline_1xb8-crop256-10e-from-coco_coco-folder.py"

# ========================Frequently modified parameters======================
max_epochs = 10
img_scale = (640, 640)
batch_size = 16
num_workers = 2
# ============================================================================

resized = [
    dict(type="mmdet.Resize", scale=img_scale, keep_ratio=True),
    dict(type="mmdet.Pad", size=img_scale, pad_val=dict(img=(114, 114, 114))),
]
load, load_annotations, crop, pad, *augment = _base_.train_pipeline
train_pipeline = [
    load,
    load_annotations,
    *resized,
    dict(
        type="IgnoreAwareRandomAffine",
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        scaling_ratio_range=(0.5, 1.5),
        border_val=(114, 114, 114),
    ),
    *augment,
]
load, resize, pad, load_annotations, pack = _base_.test_pipeline
test_pipeline = [load, *resized, load_annotations, pack]
dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    pin_memory=True,
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline), **dataloader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline), **dataloader)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
_base_.param_scheduler[1].T_max = max_epochs
param_scheduler = _base_.param_scheduler
optim_wrapper = dict(type="AmpOptimWrapper")
