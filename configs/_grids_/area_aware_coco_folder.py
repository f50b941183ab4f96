# Every loss of ours against the stock loss, on any data set in COCO format.
#
#   DATA_ROOT=path/to/data python tools/ablation.py THIS_FILE --out work_dirs/ablation
base = "../coco_folder/yolov8_n_baseline_1xb8-crop256-20e_coco-folder.py"
seeds = [0, 1, 2]
baseline = "baseline"

metrics = [
    dict(key="coco/bbox_mAP", name="AP", scale=100, guard=0.5),
    dict(key="coco/bbox_mAP_50", name="AP50", scale=100),
    dict(key="coco/bbox_mAP_s", name="AP small", scale=100, goal=True),
    dict(key="coco/bbox_mAP_m", name="AP medium", scale=100),
    dict(key="coco/bbox_mAP_l", name="AP large", scale=100),
    dict(key="coco/bbox_AR_s", name="AR small", scale=100),
    dict(
        key="background/bg_fp_per_image_recall0.5",
        name="background FP / image at recall 0.5",
        better="lower",
        goal=True,
    ),
    dict(
        key="background/bg_fp_per_image_score0.25",
        name="background FP / image at score 0.25",
        better="lower",
    ),
    dict(key="background/best_f1", name="best F1", scale=100),
]


def area_weight(type, **options):
    """The loss weighs positives by the area of their box."""
    weight = dict(_delete_=True, type=type, **options)
    return dict(model=dict(bbox_head=dict(loss_cls=dict(area_weight=weight))))


def bg_penalty(mode, lambda_bg, normalizer="background", **bbox_head):
    """The penalty, with λ rising over the first epochs."""
    settings = dict(mode=mode, lambda_bg=lambda_bg, normalizer=normalizer)
    loss_bg = dict(type="BgPenaltyLoss", **settings)
    return dict(
        model=dict(bbox_head=dict(loss_bg=loss_bg, **bbox_head)),
        extra_hooks=[dict(type="LossParamSchedulerHook", burn_in=2, warmup=3)],
    )


power = area_weight("PowerAreaWeight")
power_head = power["model"]["bbox_head"]
p2_channels = [128, 256, 512, 1024]
p2_strides = [4, 8, 16, 32]
settings = dict(
    baseline=dict(),
    power=power,
    power_boxes=dict(model=dict(bbox_head=dict(**power_head, weigh_boxes=True))),
    power_mild=area_weight("PowerAreaWeight", gamma=0.25),
    step=area_weight("StepAreaWeight"),
    box_scale=area_weight("BoxScaleWeight"),
    log=area_weight("LogAreaWeight"),
    mismatch=area_weight("AreaMismatchWeight"),
    pyramid=area_weight("PyramidMembershipWeight"),
    # As the recipes have it
    bg_max=bg_penalty("max", 5.0, normalizer="positives"),
    bg_max_10=bg_penalty("max", 10.0, normalizer="positives"),
    bg_max_20=bg_penalty("max", 20.0, normalizer="positives"),
    # As a mean over the background
    bg_max_300=bg_penalty("max", 300.0),
    bg_max_1000=bg_penalty("max", 1000.0),
    bg_max_3000=bg_penalty("max", 3000.0),
    bg_focal=bg_penalty("focal", 1000.0),
    power_bg_max=bg_penalty("max", 1000.0, **power_head),
    class_balance=dict(
        model=dict(
            bbox_head=dict(
                loss_cls=dict(
                    class_weight=dict(type="EffectiveNumberWeight"),
                    class_counts="auto",
                )
            )
        ),
        extra_hooks=[dict(type="ClassCountsHook")],
    ),
    min_side=dict(model=dict(train_cfg=dict(assigner=dict(min_side=16)))),
    # A fourth level of stride 4
    p2=dict(
        model=dict(
            backbone=dict(out_indices=(1, 2, 3, 4)),
            neck=dict(in_channels=p2_channels, out_channels=p2_channels),
            bbox_head=dict(
                head_module=dict(in_channels=p2_channels, featmap_strides=p2_strides),
                prior_generator=dict(strides=p2_strides),
            ),
        )
    ),
)
