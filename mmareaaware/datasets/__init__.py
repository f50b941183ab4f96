from ..compat import has_mmyolo
from .digits import write_digits

__all__ = ["write_digits"]

if has_mmyolo():
    from .digits_dataset import DigitsDataset
    from .ignored_boxes import (
        IgnoreAwareRandomAffine,
        ignore_aware,
        ignore_aware_collate,
    )

    __all__ += [
        "DigitsDataset",
        "IgnoreAwareRandomAffine",
        "ignore_aware",
        "ignore_aware_collate",
    ]
