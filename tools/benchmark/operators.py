"""mmcv's operators in torch against the compiled ones, side by side.

    python tools/benchmark/operators.py --hit-uav path/to/hit_uav \
        --checkpoint path/to/epoch_2.pth --out docs/benchmarks

Wants a compiled mmcv (OPS=compiled tools/setup.sh). Without `--hit-uav`, everything but
the validation is measured. On the CPU there is no compiled focal loss: a dash. Prints
a table and writes `operators.json`.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import mmcv._ext
import torch
from mmcv.ops import batched_nms, deform_conv2d, roi_align, sigmoid_focal_loss, soft_nms
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import mmareaaware  # noqa: F401 (registers)
import mmareaaware_ops.ext
from mmareaaware.benchmarking.measuring import (
    environment,
    in_own_process,
    interleaved_times,
    peak_extra_memory,
    ratio,
    write_record,
)
from mmareaaware_ops.swap import operators

CONFIGS = Path(__file__).parents[2] / "configs"
FASTER = CONFIGS / "demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py"
VALIDATION = CONFIGS / "coco_folder/yolov8_n_baseline_1xb8-crop256-40e_coco-folder.py"
YOLOV8 = "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COMPILED, TORCH = "compiled", "torch"
KINDS = {TORCH: mmareaaware_ops.ext, COMPILED: mmcv._ext}
Step = Callable[[], object]


def candidates(number: int, classes: int, objects: int) -> tuple[Tensor, ...]:
    """Boxes on a 640 px image, scores and labels.

    With objects, 70 % of the boxes crowd around them, most with the object's label, as
    a detector's do; the others lie anywhere.
    """
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    center, label = rand(number, 2) * 640, (rand(number) * classes).long()
    side = 8 * 40 ** rand(number, 2)  # 8 to 320 px
    if objects:
        crowd = int(0.7 * number)
        which = (rand(crowd) * objects).long()
        label[:crowd] = torch.where(
            rand(crowd) < 0.8, label[-objects:][which], label[:crowd]
        )
        noise = torch.randn(crowd, 4, generator=generator)
        side[:crowd] = side[-objects:][which] * (0.2 * noise[:, 2:]).exp()
        center[:crowd] = center[-objects:][which] + 0.1 * noise[:, :2] * side[:crowd]
    boxes = torch.cat([center - side / 2, center + side / 2], 1).clamp(0, 640)
    return boxes.to(DEVICE), (rand(number) ** 4).to(DEVICE), label.to(DEVICE)


def nms_step(number: int, classes: int, objects: int) -> Step:
    """As the stock YOLOv8 calls it; at most `nms_pre` = 30 000 candidates."""
    boxes, scores, labels = candidates(number, classes, objects)
    config = dict(type="nms", iou_threshold=0.7)
    return lambda: batched_nms(boxes, scores, labels, config)


def soft_nms_step(number: int) -> Step:
    boxes, scores, _ = candidates(number, 1, 60)
    return lambda: soft_nms(boxes, scores, method="gaussian")


def roi_align_step() -> Step:
    """512 RoIs of two 800 × 1333 images on their levels, 256 channels, and back."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([1333.0, 800.0])
    center = torch.rand(512, 2, generator=generator) * size
    side = 10 * 50 ** torch.rand(512, 2, generator=generator)  # 10 to 500 px
    low, high = (center - side / 2).clamp(min=0), (center + side / 2).minimum(size)
    image = torch.randint(2, (512, 1), generator=generator)
    rois = torch.cat([image, low, high], 1)
    level = ((high - low).prod(1).sqrt() / 56 + 1e-6).log2().floor().clamp(0, 3)
    maps, of_level = [], []
    for i, stride in enumerate((4, 8, 16, 32)):
        shape = (2, 256, -(-800 // stride), -(-1333 // stride))
        values = torch.rand(shape, generator=generator).to(DEVICE)
        maps.append((values.requires_grad_(), 1 / stride))
        of_level.append(rois[level == i].to(DEVICE))

    def step() -> None:
        for (values, scale), some in zip(maps, of_level, strict=True):
            values.grad = None
            roi_align(values, some, 7, scale, 0, "avg", True).sum().backward()

    return step


def focal_loss_step() -> Step:
    """Of RetinaNet on two 800 × 1333 images: 400 000 anchors, 80 classes."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(400_000, 80, generator=generator).to(DEVICE).requires_grad_()
    target = torch.randint(81, (400_000,), generator=generator).to(DEVICE)

    def step() -> None:
        logits.grad = None
        sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "sum").backward()

    return step


def deform_conv_step() -> Step:
    """A 3 × 3 convolution of 256 channels on stride 16 of an 800 × 1333 image."""
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 256, 50, 84), (1, 18, 50, 84), (256, 256, 3, 3)
    inputs = [
        torch.randn(shape, generator=generator).to(DEVICE).requires_grad_()
        for shape in shapes
    ]

    def step() -> None:
        for x in inputs:
            x.grad = None
        deform_conv2d(*inputs, 1, 1).sum().backward()

    return step


def training_step(model, scope: str, data: dict) -> Step:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(model).to(DEVICE).train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-5))
    return lambda: model.train_step(data, wrapper)


def faster_rcnn_step() -> Step:
    """A training step of the Faster R-CNN demo: 8 images of 256 px."""
    data = demo_mm_inputs(8, (3, 256, 256), num_items=[8] * 8, num_classes=10)
    return training_step(Config.fromfile(FASTER).model, "mmdet", data)


def yolov8_step() -> Step:
    """A training step of the stock YOLOv8-n: 4 images of 640 px."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (4, 3, 640, 640), generator=generator)
    corner = torch.rand(80, 2, generator=generator) * 560
    side = 8 + torch.rand(80, 2, generator=generator) * 72
    image = torch.arange(4).repeat_interleave(20)[:, None]
    label = torch.randint(80, (80, 1), generator=generator)
    samples = torch.cat([image, label, corner, corner + side], 1)
    data = dict(inputs=images.to(torch.uint8), data_samples=dict(bboxes_labels=samples))
    return training_step(get_config(YOLOV8).model, "mmyolo", data)


def validation_step(hit_uav: str, checkpoint: str) -> Step:
    """Validation of YOLOv8-n on the images of HIT-UAV."""
    os.environ["DATA_ROOT"] = hit_uav
    config = Config.fromfile(VALIDATION)
    config.work_dir = tempfile.mkdtemp()
    config.load_from = checkpoint
    config.log_level = "WARNING"
    runner = Runner.from_cfg(config)
    return runner.val


def cases(hit_uav: str, checkpoint: str) -> dict[str, Callable[[], Step]]:
    """What is measured, by name."""
    steps = {}
    for objects, where in ((60, "around 60 objects"), (0, "anywhere")):
        for classes in (1, 80):
            for number in (1000, 5000, 9999, 30_000):
                name = f"NMS, {number} boxes {where}, {classes} classes"
                steps[name] = lambda n=number, c=classes, o=objects: nms_step(n, c, o)
    steps |= {
        "soft-NMS, 1000 boxes": lambda: soft_nms_step(1000),
        "RoIAlign, forward and backward": roi_align_step,
        "focal loss, forward and backward": focal_loss_step,
        "deformable convolution, forward and backward": deform_conv_step,
        "training step of the Faster R-CNN demo": faster_rcnn_step,
        "training step of YOLOv8-n": yolov8_step,
    }
    if hit_uav:
        steps["validation of HIT-UAV"] = lambda: validation_step(hit_uav, checkpoint)
    return steps


def on(kind: str, step: Step) -> Step:
    """The step on this kind of operators."""

    def run() -> None:
        with operators(KINDS[kind]):
            step()

    return run


def measure(name: str, make: Callable[[], Step], args: argparse.Namespace) -> dict:
    options = dict(hit_uav=args.hit_uav, checkpoint=args.checkpoint, case=name)
    kinds = [TORCH] if "focal" in name and DEVICE == "cpu" else list(KINDS)
    memory = {kind: in_own_process(memory_of=kind, **options) for kind in kinds}
    step = make()
    rounds = args.rounds if "validation" not in name else min(args.rounds, 3)
    times = interleaved_times({kind: on(kind, step) for kind in kinds}, rounds)
    return dict(case=name, memory_mib=memory, seconds=times)


def print_table(results: list[dict]) -> None:
    table = Table(title=f"operators in torch and compiled, on {DEVICE}")
    for column in ("case", "torch", "compiled", "torch / compiled", "memory"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for result in results:
        times, memory = result["seconds"], result["memory_mib"]
        ours, theirs = times[TORCH], times.get(COMPILED)
        table.add_row(
            result["case"],
            f"{sorted(ours)[len(ours) // 2] * 1e3:.1f} ms",
            f"{sorted(theirs)[len(theirs) // 2] * 1e3:.1f} ms" if theirs else "-",
            f"{ratio(ours, theirs):.2f} x" if theirs else "-",
            " / ".join(f"{mib:.0f}" for mib in memory.values()) + " MiB",
        )
    Console(width=max(110, Console().width)).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hit-uav", default="", help="folder of the data set")
    parser.add_argument("--checkpoint", default="", help="of YOLOv8-n on HIT-UAV")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/operators"))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not mmcv._ext.__file__.endswith(tuple(EXTENSION_SUFFIXES)):
        sys.exit("mmcv's operators are not compiled here: OPS=compiled tools/setup.sh")
    if bool(args.hit_uav) != bool(args.checkpoint):
        sys.exit("--hit-uav and --checkpoint go together")
    steps = cases(args.hit_uav, args.checkpoint)
    if args.memory_of:
        print(json.dumps(peak_extra_memory(on(args.memory_of, steps[args.case]()))))
        return
    chosen = {name: make for name, make in steps.items() if args.only in name}
    results = [
        measure(name, make, args) for name, make in track(chosen.items(), "cases")
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    write_record(args.out / "operators.json", results)
    print_table(results)
    print(f"{environment()}\nwritten to {args.out}")


if __name__ == "__main__":
    main()
