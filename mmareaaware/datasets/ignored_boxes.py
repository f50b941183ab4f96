"""Ignored boxes on their way through MMYOLO's pipelines to the loss.

A crowd of COCO (``iscrowd``) and an ignored region of VisDrone hold objects that nobody
has labelled one by one. MMYOLO drops their boxes three times: ``LoadAnnotations`` skips
them, ``yolov5_collate`` forgets them, and ``YOLOv5DetDataPreprocessor`` passes on the
keys that it knows. Here is what keeps them up to the batch; the last step is
``mmareaaware.models.IgnoreAwareDetDataPreprocessor``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes, get_box_tensor
from mmengine.registry import FUNCTIONS, TRANSFORMS
from mmyolo.datasets import yolov5_collate
from mmyolo.datasets.transforms import YOLOv5RandomAffine
from torch import Tensor

from .homography import record_homography

# All other transforms of the stock recipes keep boxes, labels and flags in step.
REPLACEMENTS = {
    "LoadAnnotations": "mmdet.LoadAnnotations",
    "YOLOv5RandomAffine": "IgnoreAwareRandomAffine",
    "yolov5_collate": "ignore_aware_collate",
}
# Of MMYOLO's LoadAnnotations, which goes about them in its own way
MASKS = ("with_mask", "mask2bbox")


def ignore_aware(cfg):
    """A stock data loader or hooks, as they are when ignored boxes are to be kept.

    Args:
        cfg: ``train_dataloader``, a pipeline, or ``custom_hooks``, where a
            ``PipelineSwitchHook`` has one. The pipelines inside of ``Mosaic`` and
            ``YOLOv5MixUp`` are found. Stays as it is.

    Returns:
        A copy in which ``LoadAnnotations`` is MMDetection's, which loads ignored boxes
        too (but where masks are read, which only MMYOLO's turns into boxes),
        ``YOLOv5RandomAffine`` is ``IgnoreAwareRandomAffine``, and
        ``yolov5_collate`` is ``ignore_aware_collate``.

    Example:
        >>> ignore_aware([dict(type="LoadAnnotations", with_bbox=True)])
        [{'type': 'mmdet.LoadAnnotations', 'with_bbox': True}]
    """
    if isinstance(cfg, Mapping):
        result = type(cfg)({key: ignore_aware(value) for key, value in cfg.items()})
        name = _name_in_mmyolo(result.get("type"))
        if name in REPLACEMENTS and not any(map(result.get, MASKS)):
            result["type"] = REPLACEMENTS[name]
        return result
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(ignore_aware(value) for value in cfg)
    return cfg


def _name_in_mmyolo(type_) -> str | None:
    """The name of a type of MMYOLO; in MMEngine's lazy configs it is the thing."""
    if isinstance(type_, str):
        return type_.removeprefix("mmyolo.")
    is_mmyolos = getattr(type_, "__module__", "").startswith("mmyolo.")
    return type_.__name__ if is_mmyolos else None


@TRANSFORMS.register_module()
class IgnoreAwareRandomAffine(YOLOv5RandomAffine):
    """``YOLOv5RandomAffine`` that keeps whatever is left of an ignored box.

    An object of which less than a tenth is left in the crop is no longer worth
    learning, and the stock transform drops its box. Less than a tenth of an ignored
    region is still a region full of unlabelled objects.

    It records its ``homography_matrix``, as the transforms of ``homography`` do.

    Raises:
        ValueError: ``bbox_clip_border=False``, with which nobody could tell what of a
            box is left.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not self.bbox_clip_border:
            raise ValueError(
                "IgnoreAwareRandomAffine needs bbox_clip_border=True, got "
                f"{self.bbox_clip_border}: it keeps what of an ignored box is inside"
            )

    def transform(self, results: dict) -> dict:
        """Warp image and boxes; ``gt_ignore_flags`` says which ones are ignored."""
        self._is_ignored = torch.from_numpy(results["gt_ignore_flags"])
        to_centre = np.eye(3, dtype=np.float32)
        to_centre[:2, 2] = np.array(results["img"].shape[1::-1]) / -2
        results = super().transform(results)
        record_homography(results, self._from_centre @ to_centre)
        results["img_shape"] = results["img_shape"][:2]
        return results

    def _get_random_homography_matrix(
        self, height: int, width: int
    ) -> tuple[np.ndarray, float]:
        """The warp of an image with the origin in its centre (3, 3), and its scale."""
        self._from_centre, scale = super()._get_random_homography_matrix(height, width)
        return self._from_centre, scale

    def filter_gt_bboxes(
        self, origin_bboxes: HorizontalBoxes, wrapped_bboxes: HorizontalBoxes
    ) -> Tensor:
        """Which boxes (G,) to keep, of those before and after."""
        is_kept = super().filter_gt_bboxes(origin_bboxes, wrapped_bboxes)
        is_left = wrapped_bboxes.areas > 0  # they are clipped
        return torch.where(self._is_ignored, is_left, is_kept)


@FUNCTIONS.register_module()
def ignore_aware_collate(
    data_batch: Sequence[Mapping], use_ms_training: bool = False
) -> dict:
    """MMYOLO's ``yolov5_collate``, and the ignored boxes.

    Args:
        data_batch: Items with ``inputs`` (3, H, W) and ``data_samples``.
        use_ms_training: Keep the images as a list, to be resized each on its own.

    Returns:
        What ``yolov5_collate`` returns, so ``bboxes_labels`` (G, 6) with image, label,
        x1, y1, x2, y2 among its ``data_samples``, and there too ``bboxes_ignored``
        (M, 5) with image, x1, y1, x2, y2. Without ignored boxes M = 0.
    """
    batch = yolov5_collate(data_batch, use_ms_training)
    rows = [batch["data_samples"]["bboxes_labels"].new_empty(0, 5)]
    for image, item in enumerate(data_batch):
        ignored = item["data_samples"].get("ignored_instances")
        if ignored is not None and "bboxes" in ignored:
            boxes = get_box_tensor(ignored.bboxes)
            rows.append(torch.cat([boxes.new_full((len(boxes), 1), image), boxes], 1))
    batch["data_samples"]["bboxes_ignored"] = torch.cat(rows)
    return batch
