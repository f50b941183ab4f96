# The bed on which settings are judged: trainings from a COCO checkpoint, as users have
#
#   DATA_ROOT=path/to/data CHECKPOINT=path/to/yolov8n_coco.pth \
#       python tools/ablation.py THIS_FILE --out work_dirs/from_coco
#
# OPTIM_WRAPPER=BFloat16OptimWrapper: faster on a processor with instructions for it.
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
    dict(key="calibration/ece", name="calibration error", scale=100, better="lower"),
    dict(
        key="calibration/ece_s",
        name="calibration error, small",
        scale=100,
        better="lower",
    ),
]


def before_crop(*transforms):
    """The recipe's pipeline with transforms before its crop."""
    size = (256, 256)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="mmdet.LoadAnnotations", with_bbox=True),
        *transforms,
        dict(type="mmdet.RandomCrop", crop_size=size, allow_negative_crop=True),
        dict(type="mmdet.Pad", size=size, pad_val=dict(img=(114, 114, 114))),
        dict(type="YOLOv5HSVRandomAug"),
        dict(type="mmdet.RandomFlip", prob=0.5),
        dict(
            type="mmdet.PackDetInputs",
            meta_keys=("img_id", "img_path", "ori_shape", "img_shape"),
        ),
    ]
    return dict(train_dataloader=dict(dataset=dict(pipeline=pipeline)))


power = _base_.settings.power
bg_max = _base_.settings.bg_max
bg_max_10 = _base_.settings.bg_max_10
equal_objects = dict(model=dict(bbox_head=dict(balance_objects=0.5)))
equal_objects_bg_max = dict(
    model=dict(bbox_head=dict(**bg_max.model.bbox_head, balance_objects=0.5)),
    extra_hooks=bg_max.extra_hooks,
)
paste = before_crop(dict(type="SmallObjectCopyPaste", prob=1.0))
p2_equal_objects = dict(
    model=dict(
        backbone=_base_.settings.p2.model.backbone,
        neck=_base_.settings.p2.model.neck,
        bbox_head=dict(**_base_.settings.p2.model.bbox_head, balance_objects=0.5),
    ),
    load_from="{{$CHECKPOINT_P2:p2.pth}}",
)
settings = dict(
    _delete_=True,
    **{k: v for k, v in _base_.settings.items() if k != "p2"},
    # From the same network, to which tools/model_converters/add_p2_level.py has added
    # a level of stride 4
    p2=dict(**_base_.settings.p2, load_from="{{$CHECKPOINT_P2:p2.pth}}"),
    p2_bg_max=dict(
        model=dict(
            backbone=_base_.settings.p2.model.backbone,
            neck=_base_.settings.p2.model.neck,
            bbox_head=dict(
                **_base_.settings.p2.model.bbox_head,
                **bg_max.model.bbox_head,
            ),
        ),
        extra_hooks=bg_max.extra_hooks,
        load_from="{{$CHECKPOINT_P2:p2.pth}}",
    ),
    predicted_area=dict(
        model=dict(bbox_head=dict(**power.model.bbox_head, weigh_priors=True))
    ),
    equal_objects=equal_objects,
    equal_objects_bg_max=equal_objects_bg_max,
    paste=paste,
    paste_equal_objects=dict(**paste, **equal_objects),
    paste_equal_objects_predicted_area=dict(
        **paste,
        model=dict(
            bbox_head=dict(
                **power.model.bbox_head, weigh_priors=True, balance_objects=0.5
            )
        ),
    ),
    paste_equal_objects_bg_max=dict(**paste, **equal_objects_bg_max),
    p2_paste_equal_objects=dict(**paste, **p2_equal_objects),
)
# The same networks, with a vote on their detections
with_votes = (
    "baseline",
    "bg_max",
    "bg_max_10",
    "bg_max_20",
    "p2",
    "paste",
    "paste_equal_objects",
    "p2_paste_equal_objects",
)
voting = dict(box_voting=dict(type="BoxVoting"))
voting_on_place = dict(box_voting=dict(type="BoxVoting", contest=0.0))
settings.update(
    {
        f"{name}_box_voting".removeprefix("baseline_"): dict(
            settings[name],
            tests=name,
            model=dict(settings[name].get("model", {}), test_cfg=voting),
        )
        for name in with_votes
    },
    # Without the contest of classes
    bg_max_10_box_voting_on_place=dict(
        bg_max_10,
        tests="bg_max_10",
        model=dict(bg_max_10.model, test_cfg=voting_on_place),
    ),
)
