# A next step: train the RoI head on its hardest samples.
_base_ = "./faster-rcnn_r50_fpn_pos-weighted_1x_coco.py"

model = dict(train_cfg=dict(rcnn=dict(sampler=dict(type="OHEMSampler"))))
