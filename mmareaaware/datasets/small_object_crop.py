"""Crops that hold small objects."""

import numpy as np
from mmdet.datasets.transforms import RandomCrop
from mmdet.structures.bbox import autocast_box_type
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SmallObjectCrop(RandomCrop):
    """``RandomCrop`` that, with some probability, has a small object in it.

    Where objects are few and images much larger than the crop, most random crops show
    background. This chooses one of the small objects of the image, each with the same
    probability, and a random crop among those that hold it whole. With the probability
    that is left, and in images without small objects, the crop is any.

    Args:
        prob: Probability of a crop around an object.
        max_area: Area of a box in px² below which an object is small, at this point of
            the pipeline.
        **kwargs: Of ``mmdet.RandomCrop``.

    Raises:
        ValueError: ``prob`` is no probability, or no area is below ``max_area``.

    Example:
        >>> crop = dict(type='SmallObjectCrop', crop_size=(256, 256), prob=0.5,
        ...             allow_negative_crop=True)
    """

    def __init__(
        self, *args, prob: float = 0.5, max_area: float = 32**2, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must be in [0, 1], got {prob}")
        if not max_area > 0:
            raise ValueError(f"max_area must be above 0 px², got {max_area}")
        self.prob = prob
        self.max_area = max_area

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        """Crop image, boxes, labels, ignore flags and masks."""
        self._target = self._draw_target(results)
        self._image_size = results["img"].shape[:2]
        return super().transform(results)

    def _draw_target(self, results: dict) -> np.ndarray | None:
        """Box (4,) of the object that the crop is to hold, if any."""
        boxes = results["gt_bboxes"]
        is_small = boxes.areas.numpy() < self.max_area
        small = np.flatnonzero(is_small & ~results["gt_ignore_flags"])
        if not len(small) or np.random.random() >= self.prob:
            return None
        return boxes.tensor[np.random.choice(small)].numpy()

    def _rand_offset(self, margin: tuple[int, int]) -> tuple[int, int]:
        """Upper and left border of the crop."""
        if self._target is None:
            return super()._rand_offset(margin)
        x1, y1, x2, y2 = self._target
        return tuple(
            self._draw_start(start, end, size - rest, rest)
            for start, end, size, rest in zip(
                (y1, x1), (y2, x2), self._image_size, margin, strict=True
            )
        )

    @staticmethod
    def _draw_start(start: float, end: float, length: int, largest: int) -> int:
        """First pixel of a crop of that length that holds what is from start to end.

        If it is longer than the crop, the crop is within it.
        """
        bounds = sorted((np.floor(start), np.ceil(end) - length))
        low, high = np.clip(bounds, 0, largest).astype(int)
        return int(np.random.randint(low, high + 1))
