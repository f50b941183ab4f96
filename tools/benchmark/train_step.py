"""What do our head and assigner cost? A whole training step against the stock recipe.

    python tools/benchmark/train_step.py --out work_dirs/train_step

A step of a YOLO from scratch on random images, data excluded: preprocessing, network,
assignment, losses, backward, optimizer. Against the stock head with mmyolo's assigner
run our head with nothing on, and with area weight, class weights, margins and penalty.
Prints a table and writes `train_step.json`.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from rich.console import Console
from rich.table import Table

import mmareaaware  # noqa: F401 (registers)
from mmareaaware.benchmarking.measuring import (
    environment,
    interleaved_times,
    measure_all,
    peak_memory,
    ratio,
)

NUM_CLASSES = 80
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STOCK = "stock"
SPARSE = dict(assigner=dict(type="SparseTaskAlignedAssigner"))
ALL_ON = dict(
    type="AreaAwareBCELoss",
    area_weight=dict(type="PowerAreaWeight"),
    class_weight=dict(type="EffectiveNumberWeight"),
    margin=dict(type="LDAMMargin"),
    class_counts=list(range(1, NUM_CLASSES + 1)),
    loss_weight=0.5,
)
OURS = dict(
    type="AreaAwareYOLOv8Head",
    loss_cls=dict(type="AreaAwareBCELoss", area_weight=None, loss_weight=0.5),
)
MODELS_OF = {
    "yolov8-n": "yolov8/yolov8_n_area-aware_8xb16-500e_coco.py",
    "yolo11-n": "yolo11/yolo11_n_8xb16-500e_coco.py",
}
CONFIGS = Path(__file__).parents[2] / "configs"
VARIANTS = {
    STOCK: dict(),
    "ours, all off": dict(bbox_head=OURS, train_cfg=SPARSE),
    "ours, all on": dict(
        bbox_head=OURS | dict(loss_cls=ALL_ON, loss_bg=dict(type="BgPenaltyLoss")),
        train_cfg=SPARSE,
    ),
}


class Trainer:
    """A model, its optimizer and a batch that never changes."""

    def __init__(self, variant: str, case: dict) -> None:
        cfg = Config.fromfile(CONFIGS / MODELS_OF[case["model"]])
        stock = get_config("mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py")
        # The network of ours; head, losses and assigner of the stock recipe
        stock.model.bbox_head.head_module = cfg.model.bbox_head.head_module
        cfg.model.bbox_head = stock.model.bbox_head
        cfg.model.train_cfg = stock.model.train_cfg
        cfg.merge_from_dict(dict(model=VARIANTS[variant]))
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("mmyolo"):
            self.model = MODELS.build(cfg.model).to(DEVICE).train()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        wrapper = AmpOptimWrapper if case["amp"] else OptimWrapper
        self.optim_wrapper = wrapper(optimizer=optimizer)
        images, size = case["images"], case["size"]
        self.images = torch.randint(0, 255, (images, 3, size, size), dtype=torch.uint8)
        number = images * case["boxes"]
        side = 8 * 16 ** torch.rand(number, 2)  # 8 to 128 px
        center = torch.rand(number, 2) * size
        self.boxes = torch.cat(
            [
                torch.arange(images).repeat_interleave(case["boxes"])[:, None],
                torch.randint(NUM_CLASSES, (number, 1)),
                (center - side / 2).clamp(0, size),
                (center + side / 2).clamp(0, size),
            ],
            1,
        )

    def step(self) -> None:
        samples = dict(
            bboxes_labels=self.boxes.clone(), bboxes_ignored=torch.zeros(0, 5)
        )
        data = dict(inputs=self.images.clone(), data_samples=samples)
        self.model.train_step(data, self.optim_wrapper)


def make_step(variant: str, case: dict) -> Callable[[], None]:
    """A training step of a variant."""
    return Trainer(variant, case).step


def measure(case: dict, rounds: int) -> dict:
    """Memory and times of one case."""
    memory = {name: peak_memory(name, make_step, case) for name in VARIANTS}
    steps = {n: make_step(n, case) for n in VARIANTS if memory[n] is not None}
    times = interleaved_times(steps, rounds)
    return dict(**case, memory_mib=memory, seconds=times)


def print_table(results: list[dict]) -> None:
    table = Table(
        title=f"a training step on {DEVICE}, {results[0]['size']} px, "
        f"{NUM_CLASSES} classes"
    )
    columns = ("model", "amp", "images", "boxes")
    for column in (*columns, "head", "time", "/ stock", "memory", "/ stock"):
        table.add_column(
            column, justify="left" if column in ("model", "head") else "right"
        )
    for result in results:
        times, memory = result["seconds"], result["memory_mib"]
        for name in times:
            table.add_row(
                *(str(result[column]) for column in columns),
                name,
                f"{statistics.median(times[name]):.3f} s",
                f"{ratio(times[name], times[STOCK]):.3f}" if STOCK in times else "-",
                f"{memory[name]:.0f} MiB",
                f"{memory[name] / memory[STOCK]:.3f}" if memory[STOCK] else "-",
            )
        table.add_section()
    Console(width=max(110, Console().width)).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", nargs="+", choices=MODELS_OF, default=list(MODELS_OF)
    )
    parser.add_argument("--boxes", type=int, nargs="+", default=[20, 200, 800])
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--images", type=int, nargs="+", default=[4])
    parser.add_argument("--amp", type=int, nargs="+", default=[0], choices=[0, 1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/train_step"))
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    grid = itertools.product(args.amp, args.model, args.images, args.boxes)
    keys = ("amp", "model", "images", "boxes")
    cases = [dict(zip(keys, c, strict=True), size=args.size) for c in grid]
    results = measure_all(args, cases, make_step, measure)
    print_table(results)
    print(environment())


if __name__ == "__main__":
    main()
