_base_ = "./mask-rcnn_swin-t_fpn_pos-weighted_1x_coco.py"

model = _base_.area_aware_two_stage_model
