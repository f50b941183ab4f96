_base_ = [
    "./rtmdet_s_bg-max_8xb32-300e_coco.py",
    "../_base_/visdrone.py",
]

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
