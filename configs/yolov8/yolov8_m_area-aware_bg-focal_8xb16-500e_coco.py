_base_ = "./yolov8_m_area-aware_8xb16-500e_coco.py"

model = dict(bbox_head=dict(loss_bg=dict(type="BgPenaltyLoss", mode="focal")))
# λ_bg: 0 for 3 epochs, then up to 1.0 over 10
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="LossParamSchedulerHook", max_value=1.0, burn_in=3, warmup=10),
]
