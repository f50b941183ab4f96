# To compare the semi-supervised training on a GPU with: the labelled images alone, the
# stock loss, and as many steps.
#
#   python tools/dataset_converters/split_semi.py path/to/data/annotations/train.json
#   DATA_ROOT=path/to/data PERCENT=10 FOLD=1 CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/train.py THIS_FILE
_base_ = [
    "../coco_folder/yolov8_n_baseline_1xb16-640-20e-from-coco_coco-folder.py",
    "../_base_/semi.py",
]

# ========================Frequently modified parameters======================
labelled_ann_file = f"semi_anns/train.{_base_.fold}@{_base_.percent}.json"
# ============================================================================

labelled = dict(_base_.train_dataloader.dataset, ann_file=labelled_ann_file)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        _delete_=True,
        type="RepeatDataset",
        times=_base_.labelled_repeats,
        dataset=labelled,
    ),
)
train_cfg = dict(val_interval=5)
default_hooks = dict(checkpoint=dict(save_best="coco/bbox_mAP"))
