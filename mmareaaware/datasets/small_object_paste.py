"""Small objects, pasted a second time into the image that they are in."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.registry import TRANSFORMS

from .object_patch import ObjectPatch, window

KNOWN_KEYS = {"gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_masks"}


@TRANSFORMS.register_module()
class SmallObjectCopyPaste(BaseTransform):
    """Copies small objects of an image to other places of it.

    The idea of "Augmentation for small object detection" (arXiv 1902.07296), for data
    sets with masks and for those with boxes alone. What is copied is the object, exact
    to the pixel where it keeps its size, and a margin that fades out. With masks
    the object is what its mask covers; without, the box.

    * An object is copied if its window, the box and the margin, is inside of the image
      and touches no other box: what is cut off or occluded is no example.
    * A window is pasted where it is inside of the image and touches no box, neither of
      an object, nor of an ignored region, nor of a copy. So no label is covered.
    * Of several such places it takes the one whose pixels are most like those around
      the object, and none if they differ much: so there is no edge to learn, and a
      break in a conductor is not shown where there is no conductor.

    Place it after ``mmdet.LoadAnnotations``, and before a crop: then the copies come
    from the whole image, and a crop has as many more small objects as the image has.
    MMYOLO's own ``LoadAnnotations`` hides ignored regions, see `ignore_aware`.
    Everything random comes from ``numpy.random``, as in MMDetection's transforms.

    Args:
        prob: Probability for an image to get copies.
        copies: Copies of each small object.
        max_objects: Copies in an image; every object gets its first before one gets
            its second.
        max_area: Area in px² below which an object is small, of the mask if there are
            masks, else of the box, at this point of the pipeline.
        margin: Width of what is copied around an object in px.
        places: Places drawn for a copy, to choose the best free one from.
        max_mismatch: Mean difference in grey levels, between the pixels around the
            object and those of a place, up to which it is good enough. 255 takes all.
        flip_prob: Probability for a copy to be mirrored.
        scale_range: Least and largest scale of a copy.

    Raises:
        ValueError: A value out of its range, when built; annotations that it would not
            keep in step (keypoints, segmentation maps), or boxes that are not
            horizontal, when called.

    Example:
        >>> train_pipeline = [
        ...     dict(type='LoadImageFromFile'),
        ...     dict(type='mmdet.LoadAnnotations', with_bbox=True),
        ...     dict(type='SmallObjectCopyPaste', copies=2)]
    """

    def __init__(
        self,
        prob: float = 0.5,
        copies: int = 2,
        max_objects: int = 20,
        max_area: float = 32**2,
        margin: int = 2,
        places: int = 32,
        max_mismatch: float = 16.0,
        flip_prob: float = 0.5,
        scale_range: tuple[float, float] = (0.9, 1.1),
    ) -> None:
        for name, value in dict(prob=prob, flip_prob=flip_prob).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        counts = dict(
            copies=copies, max_objects=max_objects, margin=margin, places=places
        )
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{name} must be a whole number, at least 1, got {value}"
                )
        for name, value in dict(max_area=max_area, max_mismatch=max_mismatch).items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(
                "scale_range must be the least and the largest scale, both above 0, "
                f"got {scale_range}; (1, 1) keeps sizes"
            )
        self.prob = prob
        self.copies = copies
        self.max_objects = max_objects
        self.max_area = max_area
        self.margin = margin
        self.places = places
        self.max_mismatch = max_mismatch
        self.flip_prob = flip_prob
        self.scale_range = scale_range

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Paste into ``img``, and append to all keys in `KNOWN_KEYS`."""
        _check_annotations(results)
        if np.random.random() >= self.prob:
            return results
        image = results["img"].copy()
        taken = results["gt_bboxes"].tensor.numpy().astype(np.float64)
        sources, pasted = [], []
        for source in self._draw_sources(results):
            if len(pasted) == self.max_objects:
                break
            patch = self._draw_patch(results, source)
            place = self._draw_place(image, patch, taken)
            if place is None:
                continue
            patch.paste(image, *place)
            sources.append(source)
            pasted.append((patch, place))
            taken = np.concatenate([taken, [patch.box + np.tile(place, 2)]])
        if pasted:
            results["img"] = image
            _append(results, sources, pasted)
        return results

    def _draw_sources(self, results: dict) -> np.ndarray:
        """Numbers of the objects to copy, in the order of the copies."""
        boxes = results["gt_bboxes"]
        if "gt_masks" in results:
            areas = results["gt_masks"].areas
        else:
            areas = boxes.areas.numpy()
        is_small = areas < self.max_area
        windows = window(boxes.tensor.numpy(), self.margin)
        height, width = results["img"].shape[:2]
        is_inside = (windows[:, :2] >= 0) & (windows[:, 2:] <= (width, height))
        is_alone = _overlaps(windows, boxes.tensor.numpy()).sum(1) == 1  # itself
        is_source = is_small & is_inside.all(1) & is_alone & ~results["gt_ignore_flags"]
        sources = np.flatnonzero(is_source)
        rounds = [np.random.permutation(sources) for _ in range(self.copies)]
        return np.concatenate(rounds)

    def _draw_patch(self, results: dict, source: int) -> ObjectPatch:
        """An object, perhaps mirrored and of another size."""
        mask, polygons = None, ()
        if "gt_masks" in results:
            masks = results["gt_masks"][[source]]
            mask = masks.to_ndarray()[0]
            polygons = masks.masks[0] if isinstance(masks, PolygonMasks) else ()
        box = results["gt_bboxes"].tensor[source].numpy().astype(np.float64)
        patch = ObjectPatch.cut(results["img"], box, self.margin, mask, polygons)
        patch = patch.resized(np.random.uniform(*self.scale_range))
        return patch.mirrored() if np.random.random() < self.flip_prob else patch

    def _draw_place(
        self, image: np.ndarray, patch: ObjectPatch, taken: np.ndarray
    ) -> tuple[int, int] | None:
        """Left and upper border of the best free place, if there is one."""
        room = np.subtract(image.shape[:2], patch.shape)[::-1]
        if (room < 0).any() or not patch.is_object.any():
            return None
        corners = np.random.randint(0, room + 1, (self.places, 2))
        windows = np.concatenate([corners, corners + patch.shape[::-1]], axis=1)
        free = corners[~_overlaps(windows, taken).any(1)]
        if not len(free):
            return None
        mismatches = patch.mismatches(image, free)
        best = mismatches.argmin()
        if mismatches[best] > self.max_mismatch:
            return None
        left, top = free[best].tolist()
        return left, top


def _overlaps(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether they have an area in common, (windows, boxes)."""
    low = np.maximum(windows[:, None, :2], boxes[:, :2])
    high = np.minimum(windows[:, None, 2:], boxes[:, 2:])
    return (low < high).all(-1)


def _append(
    results: dict, sources: list[int], pasted: list[tuple[ObjectPatch, tuple[int, int]]]
) -> None:
    """The annotations of what has been pasted."""
    boxes = np.stack([patch.box + np.tile(place, 2) for patch, place in pasted])
    boxes = HorizontalBoxes(torch.from_numpy(boxes).float())
    results["gt_bboxes"] = HorizontalBoxes.cat([results["gt_bboxes"], boxes])
    labels = results["gt_bboxes_labels"]
    results["gt_bboxes_labels"] = np.concatenate([labels, labels[sources]])
    flags = results["gt_ignore_flags"]
    results["gt_ignore_flags"] = np.concatenate([flags, flags[sources]])
    if "gt_masks" in results:
        masks = results["gt_masks"]
        results["gt_masks"] = type(masks).cat([masks, _masks_like(masks, pasted)])


def _masks_like(
    masks: BitmapMasks | PolygonMasks, pasted: list[tuple[ObjectPatch, tuple[int, int]]]
) -> BitmapMasks | PolygonMasks:
    """The masks of what has been pasted, of the kind that the image has."""
    height, width = masks.height, masks.width
    if isinstance(masks, PolygonMasks):
        outlines = [patch.polygons_at(*place) for patch, place in pasted]
        return PolygonMasks(outlines, height, width)
    bitmaps = np.zeros((len(pasted), height, width), masks.masks.dtype)
    for bitmap, (patch, place) in zip(bitmaps, pasted, strict=True):
        bitmap[patch.part(*place)] = patch.is_object
    return BitmapMasks(bitmaps, height, width)


def _check_annotations(results: dict) -> None:
    if "gt_bboxes" not in results:
        raise ValueError(
            "SmallObjectCopyPaste needs boxes: place it behind LoadAnnotations"
        )
    others = {key for key in results if key.startswith("gt_")} - KNOWN_KEYS
    if others:
        raise ValueError(
            f"SmallObjectCopyPaste cannot paste {', '.join(sorted(others))}: do not "
            "load them, or place it before they are made"
        )
    if not isinstance(results["gt_bboxes"], HorizontalBoxes):
        raise ValueError(
            "SmallObjectCopyPaste needs horizontal boxes, box_type='hbox' in "
            f"LoadAnnotations, got {type(results['gt_bboxes']).__name__}"
        )
