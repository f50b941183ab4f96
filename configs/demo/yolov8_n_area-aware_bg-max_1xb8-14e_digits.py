# … and small objects more than large ones.
_base_ = "./yolov8_n_bg-max_1xb8-14e_digits.py"

model = _base_.area_weighted
