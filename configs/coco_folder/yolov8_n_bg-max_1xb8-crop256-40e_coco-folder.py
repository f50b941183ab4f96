# The penalty, which is what docs/results.md says to begin with.
_base_ = "./yolov8_n_baseline_1xb8-crop256-40e_coco-folder.py"

model = _base_.bg_max
custom_hooks = [*_base_.custom_hooks, _base_.rising_lambda_bg]
