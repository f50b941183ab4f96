# The penalty alone, which is what docs/results.md says to begin with.
_base_ = "./yolov8_n_area-aware_bg-max_1xb8-crop256-40e_coco-folder.py"

model = dict(bbox_head=dict(loss_cls=dict(area_weight=None)))
