# VisDrone2019-DET, 10 classes, most objects under 32 px. Make the annotations with
# tools/dataset_converters/visdrone2coco.py.
visdrone_root = "data/visdrone/"
visdrone_metainfo = dict(
    classes=(
        "pedestrian",
        "people",
        "bicycle",
        "car",
        "van",
        "truck",
        "tricycle",
        "awning-tricycle",
        "bus",
        "motor",
    )
)
visdrone_train = dict(
    data_root=visdrone_root,
    ann_file="annotations/train.json",
    data_prefix=dict(img="VisDrone2019-DET-train/images/"),
    metainfo=visdrone_metainfo,
    filter_cfg=dict(filter_empty_gt=False, min_size=0),
)
visdrone_val = dict(
    data_root=visdrone_root,
    ann_file="annotations/val.json",
    data_prefix=dict(img="VisDrone2019-DET-val/images/"),
    metainfo=visdrone_metainfo,
)
visdrone_evaluator = dict(ann_file=visdrone_root + "annotations/val.json")
visdrone_num_classes = len(visdrone_metainfo["classes"])
# Crowded: hundreds of objects an image. (COCO AP looks at the first 100.)
visdrone_test_cfg = dict(max_per_img=500)
visdrone_dense_model = dict(
    bbox_head=dict(num_classes=visdrone_num_classes), test_cfg=visdrone_test_cfg
)
