from .ignore_aware_det_data_preprocessor import (
    IgnoreAwareDetDataPreprocessor,
    IgnoreAwarePPYOLOEDetDataPreprocessor,
)

__all__ = ["IgnoreAwareDetDataPreprocessor", "IgnoreAwarePPYOLOEDetDataPreprocessor"]
