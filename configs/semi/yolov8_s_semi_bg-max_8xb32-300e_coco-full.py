# All labelled images, and unlabeled2017. Its file has no categories: write those of
# instances_train2017.json into it, as instances_unlabeled2017.json.
_base_ = "./yolov8_s_semi_bg-max_8xb32-300e_coco-semi.py"

labelled, unlabelled = _base_.train_dataloader.dataset.datasets
labelled.ann_file = "annotations/instances_train2017.json"
unlabelled.ann_file = "annotations/instances_unlabeled2017.json"
unlabelled.data_prefix = dict(img="unlabeled2017/")
train_dataloader = dict(dataset=dict(datasets=[labelled, unlabelled]))
custom_hooks = [
    # The unlabelled images have no boxes to compare with.
    dict(hook, has_truth=False) if hook.type == "PseudoLabelMonitorHook" else hook
    for hook in _base_.custom_hooks
]
