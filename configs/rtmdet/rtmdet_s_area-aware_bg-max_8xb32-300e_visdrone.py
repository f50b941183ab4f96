_base_ = "./rtmdet_s_bg-max_8xb32-300e_visdrone.py"

model = _base_.head_area_weighted
