# As many epochs instead, so a ninth of the steps.
_base_ = "./yolov8_n_supervised_1xb8-24e_digits.py"

train_dataloader = dict(dataset=dict(times=1))
