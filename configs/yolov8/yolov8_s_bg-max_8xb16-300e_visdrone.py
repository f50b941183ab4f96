_base_ = [
    "./yolov8_s_bg-max_8xb16-500e_coco.py",
    "../_base_/visdrone.py",
]

# ========================Frequently modified parameters======================
max_epochs = 300
close_mosaic_epochs = 10
# ============================================================================

num_classes = _base_.visdrone_num_classes

model = dict(
    bbox_head=dict(head_module=dict(num_classes=num_classes)),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
    test_cfg=_base_.visdrone_test_cfg,
)
train_dataloader = dict(dataset=_base_.visdrone_train)
val_dataloader = dict(dataset=_base_.visdrone_val)
test_dataloader = val_dataloader
val_evaluator = _base_.visdrone_evaluator
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
