# The bed on which settings are judged: trainings from a COCO checkpoint, as users have
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/ablation.py THIS_FILE --out work_dirs/from_coco
_base_ = "./area_aware_coco_folder.py"
base = "../coco_folder/yolov8_n_baseline_1xb8-crop256-10e-from-coco_coco-folder.py"
seeds = [0, 1, 2, 3, 4]
caption = "AP and AR are means over the classes with at least 20 boxes of a size."

metrics = [
    dict(key="coco/bbox_mAP", name="AP", scale=100, guard=0.5),
    dict(key="coco/bbox_mAP_s", name="AP small", scale=100, goal=True),
    dict(key="coco/bbox_mAP_50_s", name="AP50 small", scale=100),
    dict(key="coco/bbox_AR_s", name="AR small", scale=100),
    dict(key="coco/bbox_mAP_m", name="AP medium", scale=100),
    dict(
        key="background/bg_fp_per_image_recall0.5",
        name="background FP / image at recall 0.5",
        better="lower",
        goal=True,
    ),
    dict(
        key="background/bg_fp_per_image_recall0.7",
        name="background FP / image at recall 0.7",
        better="lower",
    ),
    dict(key="background/best_f1", name="best F1", scale=100),
]

settings = {k: v for k, v in _base_.settings.items() if k != "p2"}
settings["_delete_"] = True
