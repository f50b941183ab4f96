# Labelled and unlabelled images against the labelled ones alone, on a GPU: whole images
# at 640 px, from a COCO checkpoint. Its seed is its fold too.
#
#   python tools/dataset_converters/split_semi.py path/to/data/annotations/train.json \
#       --folds 3
#   DATA_ROOT=path/to/data PERCENT=10 CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/ablation.py THIS_FILE --out work_dirs/semi_640
_base_ = "./semi_coco_folder.py"
base = "../semi/yolov8_n_semi_1xb16-640-20e-from-coco_coco-folder.py"
settings = dict(
    _delete_=True,
    supervised=dict(
        base="../semi/yolov8_n_supervised_1xb8-640-20e-from-coco_coco-folder.py"
    ),
    semi=dict(),
)
