# `make demo`: with the penalty, in the last two epochs. Until then it is the baseline,
# to the last bit.
_base_ = "./yolov8_n_baseline_1xb4-6e_digits.py"

model = _base_.bg_max
custom_hooks = [
    *_base_.custom_hooks,
    dict(_base_.rising_lambda_bg, burn_in=3, warmup=2),
]
