# The bed on a GPU: whole images at 640 px, from a COCO checkpoint
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/ablation.py THIS_FILE --out work_dirs/from_coco_640
#
# CHECKPOINT_P2, for p2, is what tools/model_converters/add_p2_level.py makes of it.
_base_ = "./area_aware_coco_folder_from-coco.py"
base = "../coco_folder/yolov8_n_baseline_1xb16-640-10e-from-coco_coco-folder.py"
seeds = [0, 1, 2]

settings = dict(
    _delete_=True,
    baseline=dict(),
    bg_max=_base_.settings.bg_max,
    bg_max_10=_base_.settings.bg_max_10,
    p2=_base_.settings.p2,
    p2_bg_max=_base_.settings.p2_bg_max,
)
