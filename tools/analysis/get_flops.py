"""Parameters and GFLOPs of the networks of configs.

    python tools/analysis/get_flops.py configs/yolo11/yolo11_?_8xb16-500e_coco.py

Counts backbone, neck and the convolutions of the head with MMEngine's analysis. A
multiplication and an addition are two operations, as Ultralytics counts; attention's
matrix products are left out, there too.
"""

import argparse
from pathlib import Path

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.registry import MODELS, DefaultScope
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmareaaware.engine.launch import config_or_exit


class Network(nn.Module):
    """Backbone, neck and head module of a detector."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.neck = detector.neck
        self.head_module = detector.bbox_head.head_module

    def forward(self, images: Tensor) -> tuple[list[Tensor], ...]:
        return self.head_module(self.neck(self.backbone(images)))


def analyse(config: Path, size: int) -> tuple[int, float]:
    """Parameters, and operations of one image in units of 10⁹."""
    with DefaultScope.overwrite_default_scope("mmyolo"):
        network = Network(MODELS.build(config_or_exit(config).model)).eval()
    analyzer = FlopAnalyzer(network, torch.zeros(1, 3, size, size))
    analyzer.unsupported_ops_warnings(False)
    analyzer.uncalled_modules_warnings(False)
    return sum(p.numel() for p in network.parameters()), 2e-9 * analyzer.total()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=640, help="side of the input in px")
    args = parser.parse_args()
    table = Table(title=f"{args.size} × {args.size} px")
    table.add_column("config")
    table.add_column("parameters", justify="right")
    table.add_column("GFLOPs", justify="right")
    for config in args.config:
        parameters, gflops = analyse(config, args.size)
        table.add_row(config.stem, f"{parameters:,}", f"{gflops:.1f}")
    Console(width=max(100, Console().width)).print(table)


if __name__ == "__main__":
    main()
