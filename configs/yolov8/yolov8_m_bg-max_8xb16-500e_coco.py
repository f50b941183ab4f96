_base_ = "./yolov8_m_8xb16-500e_coco.py"

model = _base_.bg_max
custom_hooks = [*_base_.custom_hooks, _base_.rising_lambda_bg]
