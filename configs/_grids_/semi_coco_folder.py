# Labelled and unlabelled images against the labelled ones alone, on any data set in
# COCO format. A run takes 4 to 9 minutes on a CPU. Its seed is its fold too.
#
#   python tools/dataset_converters/split_semi.py path/to/data/annotations/train.json \
#       --percents 5 10 20 --folds 3
#   export DATA_ROOT=path/to/data PERCENT=10
#   python tools/ablation.py THIS_FILE --out work_dirs/semi --settings supervised
#   for FOLD in 1 2 3; do
#       ANNS=$DATA_ROOT/semi_anns/train.$FOLD@$PERCENT
#       python tools/dataset_converters/pseudo_label.py \
#           work_dirs/semi/supervised/seed$FOLD/config.py \
#           work_dirs/semi/supervised/seed$FOLD/train/epoch_30.pth \
#           $ANNS-unlabeled.json $DATA_ROOT/train $ANNS-pseudo.json
#   done
#   python tools/ablation.py THIS_FILE --out work_dirs/semi
#
# The step in the middle is for `offline` alone, which learns from the labels that
# `supervised` of the same fold gives once. CHECKPOINT=path/to/coco.pth in the
# environment, and another --out: all start from it. OPTIM_WRAPPER=BFloat16OptimWrapper:
# faster on a processor with instructions for bfloat16.
_base_ = ["../_base_/area_aware.py", "../_base_/semi.py"]
# Below `_base_`, or MMEngine takes this file for one of its lazy configs.
import os

base = "../semi/yolov8_n_semi_1xb16-crop256-40e_coco-folder.py"
seeds = [1, 2, 3]
seed_variable = "FOLD"
baseline = "supervised"
caption = "AP and AR are means over the classes with at least 20 boxes of a size."

metrics = [
    dict(key="coco/bbox_mAP", name="AP", scale=100, goal=True),
    dict(key="coco/bbox_mAP_50", name="AP50", scale=100),
    dict(key="coco/bbox_mAP_s", name="AP small", scale=100),
    dict(key="coco/bbox_mAP_m", name="AP medium", scale=100),
    dict(key="coco/bbox_mAP_l", name="AP large", scale=100),
    dict(key="coco/bbox_AR_s", name="AR small", scale=100),
    dict(
        key="background/bg_fp_per_image_recall0.5",
        name="background FP / image at recall 0.5",
        better="lower",
    ),
    dict(
        key="background/bg_fp_per_image_score0.25",
        name="background FP / image at score 0.25",
        better="lower",
    ),
    dict(key="background/best_f1", name="best F1", scale=100),
]

checkpoint = os.environ.get("CHECKPOINT") or None
base_lr = 1e-3 if checkpoint else 2e-3
# A third of them are the burn-in, another one the warm-up.
max_epochs = 30
burn_in, warmup = 10, 10


def train(weight_decay=0.05, **settings):
    """What all settings have in common."""
    return dict(
        load_from=checkpoint,
        train_cfg=dict(max_epochs=max_epochs, val_interval=max_epochs),
        optim_wrapper=dict(optimizer=dict(lr=base_lr, weight_decay=weight_decay)),
        **settings,
    )


def supervised(name, **settings):
    """Learns from boxes in files; the mean over time is tested, as a teacher is."""
    return train(
        base=f"../semi/yolov8_n_{name}-crop256-40e_coco-folder.py",
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
            dict(
                type="CosineAnnealingLR",
                eta_min=base_lr * 0.01,
                T_max=max_epochs,
                convert_to_iter_based=True,
            ),
        ],
        **settings,
    )


def semi(lambda_u=2.0, has_penalty=False, **thresholds):
    """A teacher and its student."""
    phases = dict(burn_in=burn_in, warmup=warmup)
    hooks = [
        dict(type="EpochSeedHook"),
        *_base_.area_aware_hooks,
        *_base_.semi_hooks,
        dict(_base_.rising_lambda_u, **phases),
    ]
    model = dict(lambda_u=lambda_u)
    if has_penalty:
        model.update(detector=_base_.bg_max)
        param = dict(param=_base_.student_lambda_bg)
        hooks.append(dict(_base_.rising_lambda_bg, **param, **phases))
    if thresholds:
        model.update(pseudo_labels=dict(thresholds=thresholds))
    return train(model=model, custom_hooks=hooks)


def fixed(high, low, **settings):
    """From ``high`` on a pseudo-box, from ``low`` on ignored."""
    return semi(type="FixedThresholds", high=high, low=low, **settings)


settings = {
    # As many epochs of the labelled images, and as many steps
    "supervised_epochs": supervised("supervised-epochs_1xb8"),
    "supervised": supervised("supervised_1xb8"),
    "supervised_wd-0.25": supervised("supervised_1xb8", weight_decay=0.25),
    "supervised_wd-1": supervised("supervised_1xb8", weight_decay=1.0),
    # Pseudo-labels once, in as many steps and of as many images
    "offline": supervised("pseudo-labelled_1xb16"),
    "semi": semi(),
    "semi_bg-max": semi(has_penalty=True),
    # What the teacher is not sure of is background
    "semi_no-ignored": fixed(0.6, 0.6),
    "semi_bg-max_no-ignored": fixed(0.6, 0.6, has_penalty=True),
    "semi_lambda-u-0.5": semi(lambda_u=0.5),
    "semi_lambda-u-1": semi(lambda_u=1.0),
    "semi_lambda-u-4": semi(lambda_u=4.0),
    "semi_high-0.4": fixed(0.4, 0.1),
    "semi_high-0.8": fixed(0.8, 0.1),
    "semi_class-count": semi(type="ClassCountThresholds"),
    "semi_f1": semi(type="F1Thresholds"),
}
