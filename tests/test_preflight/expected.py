"""What works in which stock head: to be told, and to be kept."""

from typing import NamedTuple

import pytest


class Expected(NamedTuple):
    """Of a head: what works in it, or in what is to be set in its place."""

    ours: str | None = None  # the head of this package in its place
    weighs: str = "head"  # whether that one has the area weight, or its loss
    form: str | None = None  # of positive weights
    slots: tuple[str, ...] = ("loss_cls",)  # where they may be
    plain: bool = False  # AreaAwareBCELoss without area weight is its own loss
    sparse: bool = False  # it calls the sparse assigner
    unseen: str | None = None  # why it cannot be monitored


SIGMOID = Expected(form="sigmoid")
OF_YOLOV5 = Expected(form="sigmoid", slots=("loss_cls", "loss_obj"))
OF_YOLOV8 = Expected(
    "AreaAwareYOLOv8Head", weighs="loss", form="sigmoid", plain=True, sparse=True
)
OF_RCNN = Expected("AreaAwareShared2FCBBoxHead", form="softmax")
HEADS = {
    "YOLOv5": OF_YOLOV5._replace(ours="AreaAwareYOLOv5Head"),
    "YOLOv6": Expected("AreaAwareYOLOv6Head", sparse=True),
    "YOLOv7": OF_YOLOV5._replace(ours="AreaAwareYOLOv7Head"),
    "YOLOv8": OF_YOLOV8,
    "YOLOv5-u": OF_YOLOV8,
    "YOLO11": OF_YOLOV8,
    "YOLOX": OF_YOLOV5._replace(ours="AreaAwareYOLOXHead"),
    "YOLOX of mmdet": OF_YOLOV5._replace(ours="AreaAwareMMDetYOLOXHead"),
    "PP-YOLOE+": Expected("AreaAwarePPYOLOEHead", sparse=True),
    "RTMDet": Expected("AreaAwareRTMDetHead"),
    "RTMDet of mmdet": Expected("AreaAwareRTMDetSepBNHead"),
    "RetinaNet": SIGMOID._replace(ours="AreaAwareRetinaHead"),
    "ATSS": SIGMOID._replace(ours="AreaAwareATSSHead"),
    "FCOS": SIGMOID._replace(ours="AreaAwareFCOSHead"),
    "GFL": Expected("AreaAwareGFLHead"),
    "TOOD": Expected("AreaAwareTOODHead"),
    "DINO": Expected(
        "AreaAwareDINOHead",
        unseen="one-stage detectors, and two-stage ones with their own",
    ),
    "SSD": Expected(
        "AreaAwareSSDHead", unseen="SSDHead has none: take the hook out of custom_hooks"
    ),
    "Faster R-CNN": OF_RCNN,
    "Mask R-CNN": OF_RCNN,
    "Cascade R-CNN": OF_RCNN,
    "RPN": SIGMOID._replace(ours="AreaAwareRPNHead"),
}


def heads_where(is_meant=lambda expected: True):
    """Parametrises over the heads of which something is expected."""
    heads = {name: expected for name, expected in HEADS.items() if is_meant(expected)}
    return pytest.mark.parametrize(("name", "expected"), heads.items(), ids=heads)
