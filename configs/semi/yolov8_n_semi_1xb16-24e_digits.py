# A teacher labels the other digits: burn-in to epoch 8, then its labels count more and
# more over 4 epochs.
_base_ = "./yolov8_n_supervised_1xb8-24e_digits.py"

burn_in, warmup = 8, 4

labelled = _base_.train_dataloader.dataset.dataset
unlabelled = dict(
    labelled,
    ann_file=labelled.ann_file.replace(".json", "-unlabeled.json"),
    pipeline=[
        *labelled.pipeline[:2],
        # The images have the size of the network input; this begins to record.
        dict(type="mmdet.Resize", scale_factor=1.0, keep_ratio=True),
        *_base_.unlabelled_branches,
    ],
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
