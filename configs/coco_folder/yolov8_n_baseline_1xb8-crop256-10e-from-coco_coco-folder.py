# Starts from a network that was trained on COCO, as most trainings do. Judged by the
# classes with enough boxes: one small object of a class moves AP small by points.
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/train.py THIS_FILE
_base_ = "./yolov8_n_baseline_1xb8-crop256-10e-finetune_coco-folder.py"

_base_.val_evaluator[0].update(min_boxes=20, classwise=True)
_base_.val_evaluator[1].recalls = (0.5, 0.7)
val_evaluator = [*_base_.val_evaluator, dict(type="CalibrationMetric")]
test_evaluator = val_evaluator
