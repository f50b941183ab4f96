_base_ = "./yolov8_l_bg-max_8xb16-500e_coco.py"

model = _base_.area_weighted
