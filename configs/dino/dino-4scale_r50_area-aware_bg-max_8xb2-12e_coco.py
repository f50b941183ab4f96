_base_ = "./dino-4scale_r50_bg-max_8xb2-12e_coco.py"

model = _base_.dense_area_weighted
