_base_ = "./yolox_s_bg-max_8xb8-300e_visdrone.py"

model = _base_.head_area_weighted
