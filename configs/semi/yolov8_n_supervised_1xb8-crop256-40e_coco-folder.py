# To compare the semi-supervised trainings with: the labelled images alone, the stock
# loss, and as many steps. Judged by the classes with enough boxes.
#
#   python tools/dataset_converters/split_semi.py path/to/data/annotations/train.json
#   DATA_ROOT=path/to/data PERCENT=10 FOLD=1 python tools/train.py THIS_FILE
_base_ = [
    "../coco_folder/yolov8_n_baseline_1xb8-crop256-40e_coco-folder.py",
    "../_base_/semi.py",
]

# ========================Frequently modified parameters======================
labelled_ann_file = f"semi_anns/train.{_base_.fold}@{_base_.percent}.json"
# ============================================================================

labelled = dict(_base_.train_dataloader.dataset, ann_file=labelled_ann_file)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="RepeatDataset",
        times=_base_.labelled_repeats,
        dataset=labelled,
    )
)
_base_.val_evaluator[0].update(min_boxes=20, classwise=True)
val_evaluator = _base_.val_evaluator
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best="coco/bbox_mAP"))
