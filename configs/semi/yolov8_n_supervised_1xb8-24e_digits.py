# To compare the semi-supervised trainings with: the labelled digits alone, the stock
# loss, and as many steps.
#
#   python tools/dataset_converters/make_digits.py
#   python tools/dataset_converters/split_semi.py data/digits/annotations/train.json
#   PERCENT=10 FOLD=1 python tools/train.py THIS_FILE
_base_ = ["../demo/yolov8_n_baseline_1xb8-14e_digits.py", "../_base_/semi.py"]

# ========================Frequently modified parameters======================
labelled_ann_file = f"semi_anns/train.{_base_.fold}@{_base_.percent}.json"
max_epochs = 24
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
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
_base_.param_scheduler[1].T_max = max_epochs
param_scheduler = _base_.param_scheduler
default_hooks = dict(checkpoint=dict(save_best="coco/bbox_mAP"))
