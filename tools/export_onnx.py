"""Export a YOLOv8 or YOLO11 to ONNX: image in, decoded boxes and scores out.

    python tools/export_onnx.py CONFIG CHECKPOINT model.onnx --size 640

Input `images`: (B, 3, H, W), RGB in [0, 1]. Outputs `boxes`: (B, N, 4), xyxy in px of
the input, and `scores`: (B, N, C), probabilities; non-maximum suppression is the
caller's. B is free, H and W are fixed. The file is compared with PyTorch before the
tool ends.
"""

import argparse
from pathlib import Path

from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from mmareaaware.conversion.onnx_export import export_onnx, largest_difference
from mmareaaware.engine.launch import config_or_exit

TOLERANCE = 1e-4  # of scores, and of boxes in units of the input's longer side


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
    export_onnx(detector, args.output, size, args.opset)
    boxes, scores = largest_difference(detector, args.output, size, batch=3)
    print(
        f"{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB, largest "
        f"difference to PyTorch: boxes {boxes:.1e} of a side, scores {scores:.1e}"
    )
    if max(boxes, scores) > TOLERANCE:
        raise SystemExit(f"error: that is more than {TOLERANCE}")


if __name__ == "__main__":
    main()
