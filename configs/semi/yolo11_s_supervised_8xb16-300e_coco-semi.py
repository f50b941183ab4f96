_base_ = ["./yolov8_s_supervised_8xb16-300e_coco-semi.py", "../_base_/yolo11.py"]

model = _base_.yolo11_s
