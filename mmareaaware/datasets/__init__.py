from .digits import DigitsDataset, write_digits

__all__ = ["DigitsDataset", "write_digits"]
