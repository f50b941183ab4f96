_base_ = "./yolov8_s_baseline_8xb16-500e_coco.py"

model = dict(bbox_head=dict(loss_bg=dict(type="BgPenaltyLoss", mode="max")))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="LossParamSchedulerHook", max_value=1.0, burn_in=3, warmup=10),
]
