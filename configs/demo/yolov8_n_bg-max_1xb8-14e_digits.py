# With the penalty; λ_bg rises over 5 epochs instead of 10.
_base_ = "./yolov8_n_baseline_1xb8-14e_digits.py"

model = _base_.bg_max
custom_hooks = [
    *_base_.custom_hooks,
    dict(_base_.rising_lambda_bg, burn_in=2, warmup=5),
]
