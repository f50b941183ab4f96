_base_ = "./yolov8_n_area-aware_8xb16-500e_coco.py"

model = dict(bbox_head=dict(loss_bg=dict(type="BgPenaltyLoss", mode="max")))
custom_hooks = [*_base_.custom_hooks, _base_.area_aware_lambda_bg]
