# To compare the teacher with: labels that a trained network has given the other images
# once, in as many steps and of as many images.
#
#   python tools/dataset_converters/pseudo_label.py CONFIG CHECKPOINT \
#       path/to/data/semi_anns/train.1@10-unlabeled.json path/to/data/train \
#       path/to/data/semi_anns/train.1@10-pseudo.json
#   DATA_ROOT=path/to/data PERCENT=10 FOLD=1 python tools/train.py THIS_FILE
_base_ = "./yolov8_n_supervised_1xb8-crop256-40e_coco-folder.py"

# ========================Frequently modified parameters======================
pseudo_labelled_ann_file = _base_.labelled_ann_file.replace(".json", "-pseudo.json")
pseudo_labelled_images = _base_.train_images
# ============================================================================

labelled = _base_.train_dataloader.dataset.dataset
pseudo_labelled = dict(
    labelled,
    ann_file=pseudo_labelled_ann_file,
    data_prefix=dict(img=pseudo_labelled_images),
)
train_dataloader = dict(
    batch_size=16,
    batch_sampler=_base_.semi_dataloader.batch_sampler,
    dataset=dict(
        _delete_=True, type="ConcatDataset", datasets=[labelled, pseudo_labelled]
    ),
)
