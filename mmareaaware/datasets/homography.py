"""Transforms that record where they move things.

A semi-supervised training takes the boxes that a teacher finds in one view of an image
to another view. ``homography_matrix`` (3, 3) of a data sample says how: it takes
coordinates in px of the original image to those of the network input, whatever
happened on the way.

``Resize``, ``RandomFlip``, ``RandomCrop``, ``Rotate``, ``Shear*`` and ``Translate*`` of
MMDetection record it, its ``Pad`` moves nothing, and
``IgnoreAwareRandomAffine`` records it too. Here are the two others that MMYOLO's
recipes need. Of them all ``img_shape`` is height and width, as in MMDetection, without
the channels that MMYOLO adds.
"""

import numpy as np
from mmengine.registry import TRANSFORMS
from mmyolo.datasets.transforms import LetterResize, Mosaic


def record_homography(results: dict, matrix: np.ndarray) -> None:
    """Compose a step with what ``results`` has recorded before.

    Args:
        results: Of a pipeline; ``homography_matrix`` is set, (3, 3) in float32 as
            MMDetection's transforms have it.
        matrix: Takes px before the step to px after it, (3, 3).
    """
    before = results.get("homography_matrix")
    if before is not None:
        matrix = matrix.astype(np.float64) @ before
    results["homography_matrix"] = matrix.astype(np.float32)


@TRANSFORMS.register_module()
class HomographyLetterResize(LetterResize):
    """``LetterResize`` that records its padding too, not its scale alone."""

    def _record_homography_matrix(self, results: dict) -> None:
        width_scale, height_scale = results["scale_factor"]
        top, _, left, _ = results["pad_param"]
        matrix = [[width_scale, 0, left], [0, height_scale, top], [0, 0, 1]]
        record_homography(results, np.array(matrix))
        results["img_shape"] = results["img_shape"][:2]


@TRANSFORMS.register_module()
class HomographyMosaic(Mosaic):
    """``Mosaic`` whose canvas is the original image of all that follows.

    No single matrix takes four images to one. So coordinates begin anew here: views
    that branch off after the mosaic can exchange boxes with each other, through the
    canvas, and none of them with the four files. ``ori_shape`` is the shape of the
    canvas, to which boxes in original coordinates are clipped. It has to come before
    the branches, and its images come from one data set, that of the image.
    """

    def mix_img_transform(self, results: dict) -> dict:
        """Mix, and begin to record; ``scale_factor`` and ``ori_shape`` are set too."""
        results = super().mix_img_transform(results)
        results["img_shape"] = results["ori_shape"] = results["img_shape"][:2]
        results["scale_factor"] = (1.0, 1.0)
        results["homography_matrix"] = np.eye(3, dtype=np.float32)
        return results
