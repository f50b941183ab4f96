"""Export a YOLOv8 or YOLO11 to ONNX: image in, decoded boxes and scores out.

    python tools/export_onnx.py CONFIG CHECKPOINT model.onnx --size 640

Input `images`: (B, 3, H, W), RGB in [0, 1]. Outputs `boxes`: (B, N, 4), xyxy in px of
the input, and `scores`: (B, N, C), probabilities; non-maximum suppression is the
caller's. B is free, H and W are fixed. The file is compared with PyTorch before the
tool ends.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from mmareaaware.engine.launch import config_or_exit

TOLERANCE = 1e-4  # of scores, and of boxes in units of the input's longer side


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
        detector = self.detector
        features = detector.neck(detector.backbone(images))
        logits, distances = detector.bbox_head(features)
        scores = torch.cat([z.flatten(2) for z in logits], 2).transpose(1, 2).sigmoid()
        distances = torch.cat([d.flatten(2) for d in distances], 2).transpose(1, 2)
        low, high = (distances * self.strides).chunk(2, 2)
        return torch.cat([self.centers - low, self.centers + high], 2), scores


def export(
    detector: nn.Module, path: Path, size: tuple[int, int], opset: int = 17
) -> None:
    """Write a detector as ONNX.

    Args:
        detector: See :class:`Deployed`.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        Deployed(detector, size),
        (torch.zeros(2, 3, *size),),
        str(path),
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


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--size", type=int, nargs="+", default=[640], help="one side, or height width"
    )
    parser.add_argument("--opset", type=int, default=17)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    size = (args.size[0], args.size[-1])
    with DefaultScope.overwrite_default_scope("mmyolo"):
        detector = MODELS.build(config_or_exit(args.config).model)
    load_checkpoint(detector, args.checkpoint, map_location="cpu", strict=True)
    export(detector, args.output, size, args.opset)
    boxes, scores = largest_difference(detector, args.output, size, batch=3)
    print(
        f"{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB, largest "
        f"difference to PyTorch: boxes {boxes:.1e} of a side, scores {scores:.1e}"
    )
    if max(boxes, scores) > TOLERANCE:
        raise SystemExit(f"error: that is more than {TOLERANCE}")


if __name__ == "__main__":
    main()
