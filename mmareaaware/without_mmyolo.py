"""What a config is told that asks for a YOLO where there is no MMYOLO."""

from typing import NoReturn

from mmengine.registry import (
    DATASETS,
    FUNCTIONS,
    MODELS,
    TASK_UTILS,
    TRANSFORMS,
    Registry,
)

YOLO_PARTS: dict[Registry, tuple[str, ...]] = {
    MODELS: (
        "AreaAwarePPYOLOEHead",
        "AreaAwareRTMDetHead",
        "AreaAwareYOLOXHead",
        "AreaAwareYOLOv5Head",
        "AreaAwareYOLOv6Head",
        "AreaAwareYOLOv7Head",
        "AreaAwareYOLOv8Head",
        "IgnoreAwareDetDataPreprocessor",
        "SemiYOLODetector",
        "IgnoreAwarePPYOLOEDetDataPreprocessor",
        "YOLO11CSPDarknet",
        "YOLO11HeadModule",
        "YOLO11PAFPN",
    ),
    TASK_UTILS: (
        "ClassCountThresholds",
        "DistributionSharpness",
        "F1Thresholds",
        "FixedThresholds",
    ),
    DATASETS: ("DigitsDataset",),
    TRANSFORMS: (
        "HomographyLetterResize",
        "HomographyMosaic",
        "IgnoreAwareRandomAffine",
    ),
    FUNCTIONS: ("ignore_aware_collate",),
}


def register_placeholders() -> None:
    """Register all parts that are built on MMYOLO, to raise when they are built."""
    for registry, names in YOLO_PARTS.items():
        for name in names:
            registry.register_module(name=name, module=_placeholder(name))


def _placeholder(name: str) -> type:
    def __init__(self, *args, **kwargs) -> NoReturn:
        raise ImportError(
            f"{name} is built on MMYOLO, which is not installed: "
            "pip install mmyolo==0.6.0 albumentations==1.3.1"
        )

    return type(name, (), dict(__init__=__init__, __module__=__name__))
