"""Data preprocessors that carry ignored boxes to the heads."""

from .ignore_aware_det_data_preprocessor import (
    IgnoreAwareDetDataPreprocessor,
    IgnoreAwarePPYOLOEDetDataPreprocessor,
)

__all__ = ["IgnoreAwareDetDataPreprocessor", "IgnoreAwarePPYOLOEDetDataPreprocessor"]
