# The stock loss: what Ultralytics trains with.
_base_ = [
    "../yolov8/yolov8_l_area-aware_8xb16-500e_coco.py",
    "../_base_/yolo11.py",
]

_base_.yolo11_l.bbox_head.loss_cls = dict(area_weight=None)
model = _base_.yolo11_l
