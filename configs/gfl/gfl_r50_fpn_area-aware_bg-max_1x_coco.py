_base_ = "./gfl_r50_fpn_bg-max_1x_coco.py"

model = _base_.dense_area_weighted
