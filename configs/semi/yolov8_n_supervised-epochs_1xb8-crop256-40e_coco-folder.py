# As many epochs instead, so a ninth of the steps (of 10 % labelled images).
_base_ = "./yolov8_n_supervised_1xb8-crop256-40e_coco-folder.py"

train_dataloader = dict(dataset=dict(times=1))
