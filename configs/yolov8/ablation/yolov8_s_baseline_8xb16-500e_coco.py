# The stock loss in our head, with the hooks and logs of the other three, so that
# nothing but the penalty differs.
_base_ = "../yolov8_s_area-aware_8xb16-500e_coco.py"

model = dict(bbox_head=dict(loss_cls=dict(area_weight=None)))
