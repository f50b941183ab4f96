_base_ = ["../yolov8/yolov8_n_8xb16-500e_coco.py", "../_base_/yolo11.py"]

model = _base_.yolo11_n
