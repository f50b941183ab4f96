_base_ = "./yolov8_m_8xb16-500e_coco.py"

model = _base_.area_weighted
