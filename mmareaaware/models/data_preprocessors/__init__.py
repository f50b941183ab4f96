from .ignore_aware_det_data_preprocessor import IgnoreAwareDetDataPreprocessor

__all__ = ["IgnoreAwareDetDataPreprocessor"]
