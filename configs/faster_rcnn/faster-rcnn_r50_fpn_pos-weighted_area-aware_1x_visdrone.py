_base_ = [
    "./faster-rcnn_r50_fpn_pos-weighted_area-aware_1x_coco.py",
    "../_base_/visdrone.py",
]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=_base_.visdrone_num_classes)),
    test_cfg=dict(rcnn=_base_.visdrone_test_cfg),
)
train_dataloader = dict(dataset=_base_.visdrone_train)
val_dataloader = dict(dataset=_base_.visdrone_val)
test_dataloader = val_dataloader
val_evaluator = _base_.visdrone_evaluator
test_evaluator = val_evaluator
