"""A piece of an image with an object in it, which can be put somewhere else."""

from dataclasses import dataclass

import cv2
import numpy as np

Polygons = list[np.ndarray]  # of one object, each (x1, y1, x2, y2, …)


@dataclass
class ObjectPatch:
    """An object and ``margin`` px around it.

    Attributes:
        pixels: (h, w, 3) or (h, w), uint8.
        is_object: (h, w) bool; the pixels within the box that were cut along, or those
            of the mask.
        box: (4,), x1, y1, x2, y2 in px of the patch.
        polygons: The object's outlines in px of the patch, where it has such.
        margin: Width of the border over which the patch fades out, at least 1.
    """

    pixels: np.ndarray
    is_object: np.ndarray
    box: np.ndarray
    polygons: Polygons
    margin: int

    @classmethod
    def cut(
        cls,
        image: np.ndarray,
        box: np.ndarray,
        margin: int,
        mask: np.ndarray | None = None,
        polygons: Polygons = (),
    ) -> "ObjectPatch":
        """The patch of an object whose :func:`window` is inside of the image.

        Args:
            image: (H, W, 3) or (H, W), uint8.
            box: (4,), x1, y1, x2, y2 in px.
            margin: Border around the box in px, at least 1.
            mask: (H, W), not 0 where the object is. Without one it fills its box.
            polygons: Outlines in px of the image.
        """
        left, top, right, bottom = window(box, margin)
        part = slice(top, bottom), slice(left, right)
        if mask is None:
            is_object = np.zeros((bottom - top, right - left), bool)
            is_object[margin:-margin, margin:-margin] = True
        else:
            is_object = mask[part] > 0
        return cls(
            image[part].copy(),
            is_object,
            box - [left, top, left, top],
            [outline - _corners(outline, left, top) for outline in polygons],
            margin,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.is_object.shape

    def resized(self, scale: float) -> "ObjectPatch":
        """The patch at another size, rounded to whole px; at 1 it is unchanged."""
        height, width = self.shape
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size == (width, height):
            return self
        factors = np.divide(size, (width, height))
        resized = cv2.resize(
            self.is_object.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST
        )
        shrinks = scale < 1
        return ObjectPatch(
            cv2.resize(
                self.pixels,
                size,
                interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
            ),
            resized > 0,
            self.box * np.tile(factors, 2),
            [outline * _corners(outline, *factors) for outline in self.polygons],
            self.margin,
        )

    def mirrored(self) -> "ObjectPatch":
        """Left is right."""
        width = self.shape[1]
        x1, y1, x2, y2 = self.box
        mirror = [_corners(outline, width, 0) for outline in self.polygons]
        return ObjectPatch(
            self.pixels[:, ::-1],
            self.is_object[:, ::-1],
            np.array([width - x2, y1, width - x1, y2]),
            [
                start + outline * _corners(outline, -1, 1)
                for start, outline in zip(mirror, self.polygons, strict=True)
            ],
            self.margin,
        )

    def mismatches(self, image: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """How far what is around the object differs from what is there elsewhere.

        Args:
            image: The patch would be put into, (H, W, 3) or (H, W).
            corners: (P, 2), left and upper borders of the patch.

        Returns:
            (P,), mean absolute differences in grey levels.
        """
        rows, columns = np.nonzero(~self.is_object)
        there = image[corners[:, 1:] + rows, corners[:, :1] + columns]
        differences = np.abs(there.astype(np.int16) - self.pixels[rows, columns])
        return differences.reshape(len(corners), -1).mean(1)

    def paste(self, image: np.ndarray, left: int, top: int) -> None:
        """Put it into an image, which changes.

        The object's pixels are copied; those around it fade out with their distance.
        """
        distance = cv2.distanceTransform(
            (~self.is_object).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5
        )
        opacity = np.clip(1 - distance / (self.margin + 1), 0, 1)
        if self.pixels.ndim == 3:
            opacity = opacity[..., None]
        part = self.part(left, top)
        blend = image[part] * (1 - opacity) + self.pixels * opacity
        image[part] = np.round(blend).astype(image.dtype)

    def polygons_at(self, left: int, top: int) -> Polygons:
        """Outlines in px of an image in which the patch is there."""
        return [outline + _corners(outline, left, top) for outline in self.polygons]

    def part(self, left: int, top: int) -> tuple[slice, slice]:
        """Rows and columns of an image in which the patch is there."""
        height, width = self.shape
        return slice(top, top + height), slice(left, left + width)


def window(boxes: np.ndarray, margin: int) -> np.ndarray:
    """Whole pixels that hold boxes and a margin.

    Args:
        boxes: (..., 4), x1, y1, x2, y2 in px.
        margin: In px.

    Returns:
        (..., 4), int64: first column, first row, and those after the last ones.
    """
    low = np.floor(boxes[..., :2]) - margin
    high = np.ceil(boxes[..., 2:]) + margin
    return np.concatenate([low, high], axis=-1).astype(np.int64)


def _corners(outline: np.ndarray, x: float, y: float) -> np.ndarray:
    """The same x, y for each corner of an outline."""
    return np.tile([x, y], len(outline) // 2)
