from .digits import DigitsDataset, write_digits
from .ignored_boxes import (
    IgnoreAwareRandomAffine,
    ignore_aware,
    ignore_aware_collate,
)

__all__ = [
    "DigitsDataset",
    "IgnoreAwareRandomAffine",
    "ignore_aware",
    "ignore_aware_collate",
    "write_digits",
]
