_base_ = "./rtmdet_s_8xb32-300e_coco.py"

model = _base_.head_bg_max
custom_hooks = [*_base_.custom_hooks, _base_.rising_lambda_bg]
