_base_ = "./yolo11_n_bg-max_8xb16-500e_coco.py"

model = _base_.area_weighted
