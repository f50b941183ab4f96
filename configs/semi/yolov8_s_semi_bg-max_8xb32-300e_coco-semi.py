# … and with the penalty: it rises after the burn-in, as the teacher's labels do, whose
# uncertain boxes it leaves alone.
_base_ = "./yolov8_s_semi_8xb32-300e_coco-semi.py"

model = dict(detector=_base_.bg_max)
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        _base_.rising_lambda_bg,
        param=_base_.student_lambda_bg,
        burn_in=_base_.burn_in,
        warmup=_base_.warmup,
    ),
]
