_base_ = "./yolov8_s_baseline_8xb16-500e_coco.py"

_base_.mean_max.bbox_head.loss_bg.lambda_bg = 1.0
model = _base_.mean_max
custom_hooks = [*_base_.custom_hooks, _base_.rising_lambda_bg]
