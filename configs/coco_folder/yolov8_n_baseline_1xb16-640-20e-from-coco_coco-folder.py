# Twice as long.
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/train.py THIS_FILE
_base_ = "./yolov8_n_baseline_1xb16-640-10e-from-coco_coco-folder.py"

# ========================Frequently modified parameters======================
max_epochs = 20
# ============================================================================

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
_base_.param_scheduler[1].T_max = max_epochs
param_scheduler = _base_.param_scheduler
