from .background_fp_metric import BackgroundFPMetric
from .size_binned_coco_metric import SizeBinnedCocoMetric

__all__ = ["BackgroundFPMetric", "SizeBinnedCocoMetric"]
