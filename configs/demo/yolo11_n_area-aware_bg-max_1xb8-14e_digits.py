# The demo with YOLO11.
_base_ = [
    "./yolov8_n_area-aware_bg-max_1xb8-14e_digits.py",
    "../_base_/yolo11.py",
]

model = _base_.yolo11_n
