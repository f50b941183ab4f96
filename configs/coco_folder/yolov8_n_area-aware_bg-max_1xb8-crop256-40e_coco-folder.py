# … and small objects more than large ones.
_base_ = "./yolov8_n_bg-max_1xb8-crop256-40e_coco-folder.py"

model = _base_.area_weighted
