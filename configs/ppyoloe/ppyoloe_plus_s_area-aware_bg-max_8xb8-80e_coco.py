_base_ = "./ppyoloe_plus_s_bg-max_8xb8-80e_coco.py"

model = _base_.head_area_weighted
