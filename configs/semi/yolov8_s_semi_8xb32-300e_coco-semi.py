# A teacher labels the other images: burn-in to epoch 30, then its labels count more and
# more over 30 epochs.
_base_ = "./yolov8_s_supervised_8xb16-300e_coco-semi.py"

# ========================Frequently modified parameters======================
unlabelled_ann_file = _base_.labelled_ann_file.replace(".json", "-unlabeled.json")
unlabelled_images = _base_.train_data_prefix
burn_in, warmup = 30, 30
# ============================================================================

labelled = _base_.train_dataloader.dataset.dataset
load, load_annotations, mosaic, affine, *augment, pack = labelled.pipeline
unlabelled = dict(
    labelled,
    ann_file=unlabelled_ann_file,
    data_prefix=dict(img=unlabelled_images),
    pipeline=[
        load,
        load_annotations,
        dict(mosaic, type="HomographyMosaic"),  # of unlabelled images alone
        affine,
        *_base_.flipped_branches,
    ],
)
labelled.pipeline = [*labelled.pipeline[:-1], *_base_.labelled_branch]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(_delete_=True, type="ConcatDataset", datasets=[labelled, unlabelled]),
    **_base_.semi_dataloader,
)
model = dict(_delete_=True, **_base_.semi_model, detector=_base_.model)
default_hooks = dict(param_scheduler=dict(lr_factor=1.0))
custom_hooks = [
    *[hook for hook in _base_.custom_hooks if hook.type != "EMAHook"],
    *_base_.semi_hooks,
    dict(_base_.rising_lambda_u, burn_in=burn_in, warmup=warmup),
]
