# YOLO11 in five sizes: what a recipe for YOLOv8 of the same letter needs to become one
# for YOLO11, `model = _base_.yolo11_n`. `yolo11_n_p2` and `yolo11_s_p2` have a fourth
# level of stride 4 for small objects.
yolo11_n = dict(
    backbone=dict(
        type="YOLO11CSPDarknet",
        deepen_factor=0.5,
        widen_factor=0.25,
        last_stage_out_channels=1024,
        all_c3k=False,
    ),
    neck=dict(
        type="YOLO11PAFPN",
        deepen_factor=0.5,
        widen_factor=0.25,
        in_channels=[512, 512, 1024],
        out_channels=[256, 512, 1024],
        num_csp_blocks=2,
        all_c3k=False,
    ),
    bbox_head=dict(
        head_module=dict(
            type="YOLO11HeadModule",
            widen_factor=0.25,
            in_channels=[256, 512, 1024],
        )
    ),
)
yolo11_s = dict(
    backbone=dict(yolo11_n["backbone"], widen_factor=0.5),
    neck=dict(yolo11_n["neck"], widen_factor=0.5),
    bbox_head=dict(
        head_module=dict(yolo11_n["bbox_head"]["head_module"], widen_factor=0.5)
    ),
)
yolo11_m = dict(
    backbone=dict(
        yolo11_n["backbone"],
        widen_factor=1.0,
        last_stage_out_channels=512,
        all_c3k=True,
    ),
    neck=dict(
        yolo11_n["neck"],
        widen_factor=1.0,
        in_channels=[512, 512, 512],
        out_channels=[256, 512, 512],
        all_c3k=True,
    ),
    bbox_head=dict(
        head_module=dict(
            yolo11_n["bbox_head"]["head_module"],
            widen_factor=1.0,
            in_channels=[256, 512, 512],
        )
    ),
)
yolo11_l = dict(
    backbone=dict(yolo11_m["backbone"], deepen_factor=1.0),
    neck=dict(yolo11_m["neck"], deepen_factor=1.0),
    bbox_head=yolo11_m["bbox_head"],
)
yolo11_x = dict(
    backbone=dict(yolo11_l["backbone"], widen_factor=1.5),
    neck=dict(yolo11_l["neck"], widen_factor=1.5),
    bbox_head=dict(
        head_module=dict(yolo11_m["bbox_head"]["head_module"], widen_factor=1.5)
    ),
)

p2_backbone = dict(out_indices=(1, 2, 3, 4))
p2_neck = dict(in_channels=[256, 512, 512, 1024], out_channels=[128, 256, 512, 1024])
p2_head_module = dict(in_channels=[128, 256, 512, 1024], featmap_strides=[4, 8, 16, 32])
p2_prior_generator = dict(strides=[4, 8, 16, 32])
yolo11_n_p2 = dict(
    backbone=dict(yolo11_n["backbone"], **p2_backbone),
    neck=dict(yolo11_n["neck"], **p2_neck),
    bbox_head=dict(
        head_module=dict(yolo11_n["bbox_head"]["head_module"], **p2_head_module),
        prior_generator=p2_prior_generator,
    ),
)
yolo11_s_p2 = dict(
    backbone=dict(yolo11_s["backbone"], **p2_backbone),
    neck=dict(yolo11_s["neck"], **p2_neck),
    bbox_head=dict(
        head_module=dict(yolo11_s["bbox_head"]["head_module"], **p2_head_module),
        prior_generator=p2_prior_generator,
    ),
)
