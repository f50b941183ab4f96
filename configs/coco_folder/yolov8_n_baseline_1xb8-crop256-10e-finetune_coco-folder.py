# Goes on from a network that was trained on the same classes.
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/epoch_40.pth \
#       python tools/train.py THIS_FILE
_base_ = "./yolov8_n_baseline_1xb8-crop256-40e_coco-folder.py"

max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
_base_.param_scheduler[1].update(T_max=max_epochs, eta_min=1e-5)
param_scheduler = _base_.param_scheduler
optim_wrapper = dict(optimizer=dict(lr=1e-3))
load_from = "{{$CHECKPOINT:checkpoint.pth}}"
