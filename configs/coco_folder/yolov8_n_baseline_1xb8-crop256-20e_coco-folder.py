# Half as long: for many trainings, such as those of an ablation.
_base_ = "./yolov8_n_baseline_1xb8-crop256-40e_coco-folder.py"

max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
_base_.param_scheduler[1].T_max = max_epochs
param_scheduler = _base_.param_scheduler
