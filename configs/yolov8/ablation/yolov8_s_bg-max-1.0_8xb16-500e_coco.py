_base_ = "./yolov8_s_baseline_8xb16-500e_coco.py"

model = _base_.published_max
custom_hooks = [
    *_base_.custom_hooks,
    dict(_base_.rising_lambda_bg, max_value=1.0),
]
