_base_ = [
    "./fcos_r50-caffe_fpn_gn-head_bg-max_1x_coco.py",
    "../_base_/visdrone.py",
]

model = _base_.visdrone_dense_model
train_dataloader = dict(dataset=_base_.visdrone_train)
val_dataloader = dict(dataset=_base_.visdrone_val)
test_dataloader = val_dataloader
val_evaluator = _base_.visdrone_evaluator
test_evaluator = val_evaluator
