# … and small objects more than large ones.
_base_ = "./mask-rcnn_r50_fpn_pos-weighted_1x_coco.py"

model = _base_.area_aware_two_stage_model
