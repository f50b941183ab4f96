"""What does the area-aware head cost? A training step against the stock head.

    python tools/benchmark/head_overhead.py

Trains YOLOv8-n on random images with the stock ``YOLOv8Head`` and with ours, everything
on, both with mmyolo's assigner. The variants take turns, step by step, in one process,
so that ratios mean something on a busy machine; peak memory is that of a process of its
own for each. Prints medians.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time

import torch
from mmengine.hub import get_config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mmareaaware

NUM_CLASSES = 80
AREA_AWARE = dict(
    type="AreaAwareBCELoss",
    area_weight=dict(type="PowerAreaWeight"),
    class_weight=dict(type="EffectiveNumberWeight"),
    margin=dict(type="LDAMMargin"),
    class_counts=list(range(1, NUM_CLASSES + 1)),
    loss_weight=0.5,
)
VARIANTS = {
    "stock YOLOv8Head": dict(),
    "ours, neutral": dict(type="AreaAwareYOLOv8Head"),
    "ours, area weight + penalty max": dict(
        type="AreaAwareYOLOv8Head",
        loss_cls=dict(type="AreaAwareBCELoss", loss_weight=0.5),
        loss_bg=dict(type="BgPenaltyLoss"),
    ),
    "ours, all on, penalty max": dict(
        type="AreaAwareYOLOv8Head",
        loss_cls=AREA_AWARE,
        loss_bg=dict(type="BgPenaltyLoss"),
    ),
    "ours, all on, penalty focal": dict(
        type="AreaAwareYOLOv8Head",
        loss_cls=AREA_AWARE,
        loss_bg=dict(type="BgPenaltyLoss", mode="focal"),
    ),
}


class Trainer:
    """A model, its optimizer and a batch that never changes."""

    def __init__(self, head: dict, args: argparse.Namespace) -> None:
        cfg = get_config("mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py")
        cfg.model.bbox_head.update(head)
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("mmyolo"):
            self.model = MODELS.build(cfg.model).to(args.device).train()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        self.optim_wrapper = OptimWrapper(optimizer)
        shape = (args.batch, 3, args.size, args.size)
        self.images = torch.randint(0, 255, shape, dtype=torch.uint8)
        number = args.batch * args.boxes
        side = torch.exp(torch.rand(number, 2) * 3 + 2)
        centre = torch.rand(number, 2) * args.size
        self.boxes = torch.cat(
            [
                torch.arange(args.batch).repeat_interleave(args.boxes)[:, None],
                torch.randint(NUM_CLASSES, (number, 1)),
                (centre - side / 2).clamp(0, args.size),
                (centre + side / 2).clamp(0, args.size),
            ],
            1,
        )

    def step(self) -> float:
        """One training step; its seconds."""
        data = dict(
            inputs=self.images.clone(),
            data_samples=dict(bboxes_labels=self.boxes.clone()),
        )
        _synchronize()
        start = time.perf_counter()
        self.model.train_step(data, self.optim_wrapper)
        _synchronize()
        return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(args: argparse.Namespace) -> float:
    """Peak memory in MiB of two steps: allocated on the GPU, or resident."""
    trainer = Trainer(VARIANTS[args.memory_of], args)
    trainer.step()
    trainer.step()
    if args.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--boxes", type=int, default=20, help="boxes per image")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.memory_of:
        print(json.dumps(peak_memory(args)))
        return
    trainers = {name: Trainer(head, args) for name, head in VARIANTS.items()}
    for trainer in trainers.values():
        trainer.step()  # warm up
    times = {name: [] for name in VARIANTS}
    for i in track(range(args.rounds), "rounds"):
        # Another one begins each round: what comes first or last finds other caches.
        names = list(VARIANTS)
        for name in names[i % len(names) :] + names[: i % len(names)]:
            times[name].append(trainers[name].step())
    memory = {}
    for name in track(VARIANTS, "memory"):
        command = [sys.executable, *sys.argv, "--memory-of", name]
        output = subprocess.run(command, check=True, capture_output=True, text=True)
        memory[name] = json.loads(output.stdout.splitlines()[-1])

    table = Table(
        title=f"a training step of YOLOv8-n, {args.batch} images of {args.size} px, "
        f"{args.boxes} boxes each"
    )
    for column in ("head", "time", "against stock", "peak memory", "against stock"):
        table.add_column(column, justify="left" if column == "head" else "right")
    stock = "stock YOLOv8Head"
    for name in VARIANTS:
        # Step by step against the stock step of the same round
        ratio = statistics.median(
            t / s for t, s in zip(times[name], times[stock], strict=True)
        )
        table.add_row(
            name,
            f"{statistics.median(times[name]):.3f} s",
            f"{ratio:.3f}",
            f"{memory[name]:.0f} MiB",
            f"{memory[name] / memory[stock]:.3f}",
        )
    Console().print(table)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}, mmareaaware {mmareaaware.__version__}, "
        f"medians of {args.rounds} rounds: {' '.join(sys.argv)}"
    )


if __name__ == "__main__":
    main()
