_base_ = ["../yolov8/yolov8_s_bg-max_8xb16-300e_visdrone.py", "../_base_/yolo11.py"]

model = _base_.yolo11_s
