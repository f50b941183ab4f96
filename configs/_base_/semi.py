# What turns a supervised recipe into one for labelled and unlabelled images.

# Which split of tools/dataset_converters/split_semi.py
percent = "{{$PERCENT:10}}"
fold = "{{$FOLD:1}}"
# How often the labelled images fit into the unlabelled ones: as many supervised steps.
labelled_repeats = round(100 / float(percent)) - 1

# As many labelled as unlabelled images in a batch, an epoch is a pass over the latter.
semi_dataloader = dict(
    batch_sampler=dict(type="SemiBatchSampler", source_ratio=[1, 1]),
    collate_fn=dict(_delete_=True, type="pseudo_collate"),
)

# Pipelines branch into views; what happens before is up to the recipe. With unlabelled
# images nothing may depend on boxes, as in mmdet.FilterAnnotations and in RandomCrop
# without allow_negative_crop: those that are there are hidden.
branches = dict(
    type="mmdet.MultiBranch",
    branch_field=["sup", "unsup_teacher", "unsup_student"],
)
# Else each branch copies the data set, with every image
without_dataset = dict(type="RemoveDataElement", keys=["dataset"])
pack_labelled = dict(
    type="mmdet.PackDetInputs",
    meta_keys=("img_id", "img_path", "ori_shape", "img_shape"),
)
pack_view = dict(
    type="mmdet.PackDetInputs",
    meta_keys=(
        "img_id",
        "img_path",
        "ori_shape",
        "img_shape",
        "scale_factor",
        "homography_matrix",
    ),
)
labelled_branch = [without_dataset, dict(branches, sup=pack_labelled)]
weak_view = [pack_view]
# The student sees nothing that the teacher has not seen: the rest of its view is grey.
strong_colours = [
    dict(
        type="mmdet.RandAugment",
        aug_space=[
            [dict(type=f"mmdet.{name}")]
            for name in (
                "ColorTransform",
                "AutoContrast",
                "Equalize",
                "Sharpness",
                "Posterize",
                "Solarize",
                "Color",
                "Contrast",
                "Brightness",
            )
        ],
        aug_num=1,
    ),
    dict(
        type="mmdet.RandomErasing",
        n_patches=(1, 5),
        ratio=(0, 0.2),
        img_border_value=114,
    ),
]
strong_affine = dict(
    type="IgnoreAwareRandomAffine",
    max_rotate_degree=0.0,
    max_shear_degree=0.0,
    scaling_ratio_range=(0.75, 1.25),
    border_val=(114, 114, 114),
)
strong_view = [strong_affine, *strong_colours, pack_view]
flip = dict(type="mmdet.RandomFlip", prob=0.5)
unlabelled_branches = [
    without_dataset,
    dict(branches, unsup_teacher=weak_view, unsup_student=strong_view),
]
flipped_branches = [
    without_dataset,
    dict(
        branches, unsup_teacher=[flip, *weak_view], unsup_student=[flip, *strong_view]
    ),
]

semi_model = dict(
    type="SemiYOLODetector",
    lambda_u=2.0,  # in the end
    data_preprocessor=dict(
        type="mmdet.MultiBranchDataPreprocessor",
        data_preprocessor=dict(
            type="mmdet.DetDataPreprocessor",
            mean=[0.0, 0.0, 0.0],
            std=[255.0, 255.0, 255.0],
            bgr_to_rgb=True,
            pad_size_divisor=32,
            pad_value=114 / 255,  # it pads what is divided already
        ),
    ),
)
# The teacher is the mean over time: no EMAHook, and no decay of the learning rate.
semi_hooks = [
    dict(type="SemiMeanTeacherHook"),
    dict(type="SemiPhaseHook"),
    dict(type="PseudoLabelMonitorHook"),
    dict(type="PseudoLabelPictureHook"),
]
rising_lambda_u = dict(type="LossParamSchedulerHook", param="lambda_u")
student_lambda_bg = "student.bbox_head.loss_bg.lambda_bg"
