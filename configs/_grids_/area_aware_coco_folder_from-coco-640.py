# The bed on a GPU: whole images at 640 px, from a COCO checkpoint
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/ablation.py THIS_FILE --out work_dirs/from_coco_640
#
# CHECKPOINT_P2, for p2, is what tools/model_converters/add_p2_level.py makes of it.
_base_ = "./area_aware_coco_folder_from-coco.py"
base = "../coco_folder/yolov8_n_baseline_1xb16-640-10e-from-coco_coco-folder.py"
seeds = [0, 1, 2]

size = (640, 640)
# The recipe's pipeline, with copies of small objects
paste = dict(
    train_dataloader=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="mmdet.LoadAnnotations", with_bbox=True),
                dict(type="SmallObjectCopyPaste", prob=1.0),
                dict(type="mmdet.Resize", scale=size, keep_ratio=True),
                dict(type="mmdet.Pad", size=size, pad_val=dict(img=(114, 114, 114))),
                dict(
                    type="IgnoreAwareRandomAffine",
                    max_rotate_degree=0.0,
                    max_shear_degree=0.0,
                    scaling_ratio_range=(0.5, 1.5),
                    border_val=(114, 114, 114),
                ),
                dict(type="YOLOv5HSVRandomAug"),
                dict(type="mmdet.RandomFlip", prob=0.5),
                dict(
                    type="mmdet.PackDetInputs",
                    meta_keys=("img_id", "img_path", "ori_shape", "img_shape"),
                ),
            ]
        )
    )
)
settings = dict(
    _delete_=True,
    baseline=dict(),
    bg_max=_base_.settings.bg_max,
    bg_max_10=_base_.settings.bg_max_10,
    p2=_base_.settings.p2,
    p2_bg_max=_base_.settings.p2_bg_max,
    equal_objects=_base_.settings.equal_objects,
    paste=paste,
    paste_equal_objects=dict(**paste, **_base_.settings.equal_objects),
    paste_equal_objects_bg_max=dict(**paste, **_base_.settings.equal_objects_bg_max),
)
