_base_ = ["./yolov8_s_semi_bg-max_8xb32-300e_coco-semi.py", "../_base_/yolo11.py"]

model = dict(detector=_base_.yolo11_s)
