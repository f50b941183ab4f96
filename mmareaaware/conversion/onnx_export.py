"""A YOLOv8 or YOLO11 as ONNX: image in, decoded boxes and scores out."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..whole_file import whole_file


class Deployed(nn.Module):
    """Network and decoding of a detector, without pre- and postprocessing.

    Args:
        detector: A ``YOLODetector`` with a ``YOLOv8Head`` or one derived from it.
        size: Height and width of the input in px.
    """

    def __init__(self, detector: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.detector = detector.eval()
        head = detector.bbox_head
        points = torch.cat(
            head.prior_generator.grid_priors(
                [(size[0] // s, size[1] // s) for s in head.featmap_strides],
                device="cpu",
                with_stride=True,
            )
        )
        self.register_buffer("centers", points[:, :2])
        self.register_buffer("strides", points[:, 2:3])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, N, 4), xyxy in px, and scores (B, N, C) of images (B, 3, H, W)."""
        detector = self.detector
        features = detector.neck(detector.backbone(images))
        logits, distances = detector.bbox_head(features)
        scores = torch.cat([z.flatten(2) for z in logits], 2).transpose(1, 2).sigmoid()
        distances = torch.cat([d.flatten(2) for d in distances], 2).transpose(1, 2)
        low, high = (distances * self.strides).chunk(2, 2)
        return torch.cat([self.centers - low, self.centers + high], 2), scores


def export_onnx(
    detector: nn.Module, path: Path, size: tuple[int, int], opset: int = 17
) -> None:
    """Write a detector as ONNX.

    Args:
        detector: See ``Deployed``.
        path: The file.
        size: Height and width of the input in px.
        opset: Of ONNX, at least 17.

    Raises:
        ValueError: ``size`` does not fit the strides, or ``opset`` is too old.
    """
    coarsest = max(detector.bbox_head.featmap_strides)
    if any(side <= 0 or side % coarsest for side in size):
        raise ValueError(f"size must be multiples of the stride {coarsest}, got {size}")
    if opset < 17:
        raise ValueError(f"opset must be at least 17, got {opset}")
    names = ("images", "boxes", "scores")
    with whole_file(path) as partial:
        torch.onnx.export(
            Deployed(detector, size),
            (torch.zeros(2, 3, *size),),
            str(partial),
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=opset,
            dynamo=False,
        )


def largest_difference(
    detector: nn.Module, path: Path, size: tuple[int, int], batch: int
) -> tuple[float, float]:
    """Of boxes (in units of the longer side) and scores, ONNX Runtime and PyTorch."""
    import onnxruntime

    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        boxes, scores = Deployed(detector, size)(images)
    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    found = session.run(["boxes", "scores"], {"images": images.numpy()})
    return (
        float(np.abs(found[0] - boxes.numpy()).max()) / max(size),
        float(np.abs(found[1] - scores.numpy()).max()),
    )
