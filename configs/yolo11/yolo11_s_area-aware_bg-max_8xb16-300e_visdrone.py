_base_ = "./yolo11_s_bg-max_8xb16-300e_visdrone.py"

model = _base_.area_weighted
