# The area weight and the penalty on the demo's data; a run takes about 6 minutes on two
# cores.
#
#   python tools/dataset_converters/make_digits.py
#   python tools/ablation.py THIS_FILE --out work_dirs/ablation/digits
base = "../demo/yolov8_n_baseline_1xb8-14e_digits.py"
seeds = [0, 1, 2]
baseline = "baseline"

metrics = [
    dict(key="coco/bbox_mAP", name="AP", scale=100),
    dict(key="coco/bbox_mAP_s", name="AP small", scale=100),
    dict(
        key="background/bg_fp_per_image_recall0.5",
        name="background FP / image at recall 0.5",
        better="lower",
    ),
]

power = dict(loss_cls=dict(area_weight=dict(_delete_=True, type="PowerAreaWeight")))
bg_max = dict(loss_bg=dict(type="BgPenaltyLoss", mode="max"))
rising_lambda = dict(type="LossParamSchedulerHook", burn_in=2, warmup=5)
settings = dict(
    baseline=dict(),
    power=dict(model=dict(bbox_head=power)),
    bg_max=dict(model=dict(bbox_head=bg_max), extra_hooks=[rising_lambda]),
    power_bg_max=dict(
        model=dict(bbox_head=dict(**power, **bg_max)), extra_hooks=[rising_lambda]
    ),
)
