# … and with the penalty: it rises after the burn-in, as the teacher's labels do, whose
# uncertain boxes it leaves alone.
_base_ = "./yolov8_n_semi_1xb16-crop256-40e_coco-folder.py"

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
