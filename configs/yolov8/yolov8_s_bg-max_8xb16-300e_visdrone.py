_base_ = [
    "./yolov8_s_bg-max_8xb16-500e_coco.py",
    "../_base_/visdrone.py",
]

# ========================Frequently modified parameters======================
max_epochs = 300
close_mosaic_epochs = 10
# ============================================================================

num_classes = len(_base_.visdrone_metainfo.classes)

model = dict(
    bbox_head=dict(head_module=dict(num_classes=num_classes)),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
    # Crowded: hundreds of objects an image. (COCO AP looks at the first 100.)
    test_cfg=dict(max_per_img=500),
)
train_dataloader = dict(dataset=_base_.visdrone_train)
val_dataloader = dict(dataset=_base_.visdrone_val)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.visdrone_root + "annotations/val.json")
test_evaluator = val_evaluator

train_cfg = dict(
    max_epochs=max_epochs,
    dynamic_intervals=[(max_epochs - close_mosaic_epochs, 1)],
)
default_hooks = dict(param_scheduler=dict(max_epochs=max_epochs))
custom_hooks = [
    dict(hook, switch_epoch=max_epochs - close_mosaic_epochs)
    if hook.type == "mmdet.PipelineSwitchHook"
    else hook
    for hook in _base_.custom_hooks
]
