# Labelled and unlabelled digits against the labelled ones alone, from scratch. A run
# takes 10 minutes on a CPU. Its seed is its fold too.
#
#   python tools/dataset_converters/make_digits.py
#   python tools/dataset_converters/split_semi.py data/digits/annotations/train.json \
#       --folds 3
#   PERCENT=10 python tools/ablation.py THIS_FILE --out work_dirs/semi_digits
_base_ = "./semi_coco_folder.py"
base = "../semi/yolov8_n_semi_1xb16-24e_digits.py"
caption = "AP and AR are means over the ten digits."


def recipe(name):
    """One of configs/semi."""
    return dict(base=f"../semi/yolov8_n_{name}-24e_digits.py")


settings = dict(
    _delete_=True,
    supervised_epochs=recipe("supervised-epochs_1xb8"),
    supervised=recipe("supervised_1xb8"),
    semi=recipe("semi_1xb16"),
    **{"semi_bg-max": recipe("semi_bg-max_1xb16")},
)
