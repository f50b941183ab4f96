# A fourth level of stride 4, for objects of a few pixels, on a network of three levels
# that is trained already:
#
#   python tools/model_converters/add_p2_level.py path/to/yolov8_n.pth --out p2.pth
#   DATA_ROOT=path/to/data CHECKPOINT=p2.pth python tools/train.py THIS_FILE
_base_ = "./yolov8_n_baseline_1xb8-crop256-10e-finetune_coco-folder.py"

channels = [128, 256, 512, 1024]
strides = [4, 8, 16, 32]
model = dict(
    backbone=dict(out_indices=(1, 2, 3, 4)),
    neck=dict(in_channels=channels, out_channels=channels),
    bbox_head=dict(
        head_module=dict(in_channels=channels, featmap_strides=strides),
        prior_generator=dict(strides=strides),
    ),
)
