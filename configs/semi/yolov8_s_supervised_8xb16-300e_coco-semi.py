# To compare the semi-supervised trainings with: the labelled images alone, the stock
# loss, and as many steps. (MMYOLO's last epochs without mosaic are left out here
# and there: its hook does not reach a data set within another.)
#
#   python tools/dataset_converters/split_semi.py \
#       data/coco/annotations/instances_train2017.json --percents 1 5 10 --folds 5
#   PERCENT=10 FOLD=1 tools/dist_train.sh THIS_FILE 8
_base_ = ["../yolov8/yolov8_s_8xb16-500e_coco.py", "../_base_/semi.py"]

# ========================Frequently modified parameters======================
labelled_ann_file = f"semi_anns/instances_train2017.{_base_.fold}@{_base_.percent}.json"
max_epochs = 300
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
train_cfg = dict(max_epochs=max_epochs, dynamic_intervals=[(max_epochs - 10, 1)])
default_hooks = dict(
    param_scheduler=dict(max_epochs=max_epochs),
    checkpoint=dict(save_best="coco/bbox_mAP"),
)
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook.type != "mmdet.PipelineSwitchHook"
]
