_base_ = [
    "./gfl_r50_fpn_bg-max_1x_coco.py",
    "../_base_/visdrone.py",
]

model = dict(
    bbox_head=dict(num_classes=len(_base_.visdrone_metainfo.classes)),
    # Crowded: hundreds of objects an image. (COCO AP looks at the first 100.)
    test_cfg=dict(max_per_img=500),
)
train_dataloader = dict(dataset=_base_.visdrone_train)
val_dataloader = dict(dataset=_base_.visdrone_val)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.visdrone_root + "annotations/val.json")
test_evaluator = val_evaluator
