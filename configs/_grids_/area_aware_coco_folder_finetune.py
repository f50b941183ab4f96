# The same comparison where training is short and starts from a trained network.
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/epoch_40.pth \
#       python tools/ablation.py THIS_FILE --out work_dirs/ablation_finetune
_base_ = "./area_aware_coco_folder.py"
base = "../coco_folder/yolov8_n_baseline_1xb8-crop256-10e-finetune_coco-folder.py"

# The checkpoint has no level of stride 4.
settings = {k: v for k, v in _base_.settings.items() if k != "p2"}
settings["_delete_"] = True
