# A fourth level of stride 4, for objects of a few pixels.
_base_ = ["../yolov8/yolov8_s_bg-max_8xb16-500e_coco.py", "../_base_/yolo11.py"]

model = _base_.yolo11_s_p2
