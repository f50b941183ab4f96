# The bed on a GPU, twice as long
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/ablation.py THIS_FILE --out work_dirs/from_coco_640_20e
#
# CHECKPOINT_P2, for p2, is what tools/model_converters/add_p2_level.py makes of it.
_base_ = "./area_aware_coco_folder_from-coco-640.py"
base = "../coco_folder/yolov8_n_baseline_1xb16-640-20e-from-coco_coco-folder.py"
seeds = [0, 1, 2, 3, 4]
