"""Ignored boxes through pipelines, labelled and unlabelled batches, the digits."""

from ..compat import has_mmyolo
from .digits import write_digits
from .semi_batch_sampler import SemiBatchSampler
from .small_object_paste import SmallObjectCopyPaste

__all__ = [
    "SemiBatchSampler",
    "SmallObjectCopyPaste",
    "write_digits",
]

if has_mmyolo():
    from .digits_dataset import DigitsDataset
    from .homography import HomographyLetterResize, HomographyMosaic
    from .ignored_boxes import (
        IgnoreAwareRandomAffine,
        ignore_aware,
        ignore_aware_collate,
    )

    __all__ += [
        "DigitsDataset",
        "HomographyLetterResize",
        "HomographyMosaic",
        "IgnoreAwareRandomAffine",
        "ignore_aware",
        "ignore_aware_collate",
    ]
