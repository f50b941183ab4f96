# On a GPU, whole images at 640 px, half precision, from a network that was trained on
# COCO: burn-in to epoch 5, then the teacher's labels count more and more over 5 epochs.
#
#   DATA_ROOT=path/to/data PERCENT=10 FOLD=1 CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/train.py THIS_FILE
_base_ = "./yolov8_n_supervised_1xb8-640-20e-from-coco_coco-folder.py"

# ========================Frequently modified parameters======================
unlabelled_ann_file = _base_.labelled_ann_file.replace(".json", "-unlabeled.json")
unlabelled_images = _base_.train_images
burn_in, warmup = 5, 5
# ============================================================================

labelled = _base_.train_dataloader.dataset.dataset
load, load_annotations, resize, pad, *augment, pack = labelled.pipeline
unlabelled = dict(
    labelled,
    ann_file=unlabelled_ann_file,
    data_prefix=dict(img=unlabelled_images),
    pipeline=[load, load_annotations, resize, pad, *_base_.flipped_branches],
)
labelled.pipeline = [*labelled.pipeline[:-1], *_base_.labelled_branch]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(_delete_=True, type="ConcatDataset", datasets=[labelled, unlabelled]),
    **_base_.semi_dataloader,
)
model = dict(_delete_=True, **_base_.semi_model, detector=_base_.model)
param_scheduler = _base_.param_scheduler[:1]
custom_hooks = [
    *[hook for hook in _base_.custom_hooks if hook.type != "EMAHook"],
    *_base_.semi_hooks,
    dict(_base_.rising_lambda_u, burn_in=burn_in, warmup=warmup),
]
