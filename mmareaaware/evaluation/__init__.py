from .background_fp_metric import BackgroundFPMetric

__all__ = ["BackgroundFPMetric"]
