_base_ = "./fcos_r50-caffe_fpn_gn-head_bg-max_1x_coco.py"

model = _base_.dense_area_weighted
