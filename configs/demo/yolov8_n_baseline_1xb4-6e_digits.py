# `make demo`: fewer epochs of smaller batches. The stock loss.
_base_ = "./yolov8_n_baseline_1xb8-14e_digits.py"

# ========================Frequently modified parameters======================
base_lr = 4e-3
max_epochs = 6
# ============================================================================

train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=base_lr))
_base_.param_scheduler[1].update(T_max=max_epochs, eta_min=base_lr * 0.01)
param_scheduler = _base_.param_scheduler
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
# The penalty begins with the fifth epoch: the recipe that has it may start from the
# checkpoint of the fourth.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
