"""Assignment and loss, forward and backward: ours, stock mmyolo's, Ultralytics'.

    python tools/benchmark/loss_step.py --out work_dirs/loss_step

Every contestant starts from the same raw maps of the last convolutions, (B, C, H, W)
and (B, 64, H, W) a level, decodes them as its own code does, and ends with the
gradients of the maps. Ultralytics takes part if it is installed (8.4 or newer). What
does not fit into memory shows as a dash. Prints a table, writes `loss_step.json` and a
plot for each number of classes and size. What the features cost, "all on / ours", is
from rounds of these two alone, `seconds_on_off` in the record, after those of all.
"""

import argparse
import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import mmareaaware  # noqa: F401 (registers)
from mmareaaware.benchmarking.measuring import (
    environment,
    interleaved_times,
    measure_all,
    peak_memory,
    ratio,
)
from mmareaaware.benchmarking.operations import count_launches, count_operations
from mmareaaware.whole_file import whole_file

STRIDES = (8, 16, 32)
REG_MAX = 16
MIN_SIDE, MAX_SIDE = 8, 128  # px, of the boxes; their logarithm is uniform
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COUNTS = "{operations}\n({waits})"
if DEVICE == "cuda":
    COUNTS += "\n{launches} launches\n({stream_waits})"
OURS, OURS_ALL_ON = "ours", "ours, all on"
STOCK, ULTRALYTICS = "mmyolo", "Ultralytics"
ON_OFF_ROUNDS = 5  # for each round with the others


class Batch:
    """Raw maps that want gradients, and boxes."""

    def __init__(self, classes: int, size: int, boxes: int, images: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.num_imgs = images
        self.size = size
        self.logits, self.dists = [], []
        for stride in STRIDES:
            shape = (images, -1, size // stride, size // stride)
            for maps, channels, mean in (
                (self.logits, classes, -3.0),
                (self.dists, 4 * REG_MAX, 0.0),
            ):
                values = torch.randn(images, channels, *shape[2:], generator=generator)
                maps.append((values * 1.5 + mean).to(DEVICE).requires_grad_())
        number = images * boxes
        spread = torch.rand(number, 2, generator=generator)
        side = MIN_SIDE * (MAX_SIDE / MIN_SIDE) ** spread
        center = torch.rand(number, 2, generator=generator) * size
        self.boxes = torch.cat([center - side / 2, center + side / 2], 1)
        self.boxes = self.boxes.clamp(0, size).to(DEVICE)
        image = torch.arange(images).repeat_interleave(boxes)
        self.image = image.to(DEVICE)
        label = torch.randint(classes, (number,), generator=generator)
        self.label = label.to(DEVICE)

    def backward(self, loss: Tensor) -> None:
        for leaf in self.logits + self.dists:
            leaf.grad = None
        loss.backward()


class Given(nn.Module):
    """In place of the last convolution: a map that is there already."""

    def forward(self, _: Tensor) -> Tensor:
        return self.map


def mm_step(batch: Batch, classes: int, amp: bool, **head) -> Callable[[], None]:
    """A head of mmyolo, with the decoding of its head module."""
    assigner = dict(type="BatchTaskAlignedAssigner", use_ciou=True)
    assigner |= dict(num_classes=classes, topk=10, alpha=0.5, beta=6.0, eps=1e-9)
    assigner |= head.pop("assigner", {})
    config = ConfigDict(
        head_module=dict(
            type="YOLOv8HeadModule",
            num_classes=classes,
            in_channels=[16, 16, 16],
            featmap_strides=list(STRIDES),
        ),
        train_cfg=dict(assigner=assigner),
        **head,
    )
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(config).to(DEVICE).train()
    module = head.head_module
    module.cls_preds = nn.ModuleList(Given() for _ in STRIDES)
    module.reg_preds = nn.ModuleList(Given() for _ in STRIDES)
    samples = torch.cat([batch.image[:, None], batch.label[:, None], batch.boxes], 1)

    def step() -> None:
        with torch.autocast(DEVICE, enabled=bool(amp)):
            for level, (logits, dists) in enumerate(
                zip(batch.logits, batch.dists, strict=True)
            ):
                module.cls_preds[level].map = logits.half() if amp else logits
                module.reg_preds[level].map = dists.half() if amp else dists
            outputs = head(batch.logits)
            losses = head.loss_by_feat(*outputs, samples, [{}] * batch.num_imgs)
        batch.backward(sum(v for k, v in losses.items() if "loss" in k))

    return step


def ultralytics_step(batch: Batch, classes: int, amp: bool) -> Callable[[], None]:
    """Ultralytics' criterion."""
    from ultralytics.utils.loss import v8DetectionLoss

    model = nn.Linear(1, 1).to(DEVICE)  # it only asks for the device
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    strides = torch.tensor(STRIDES, dtype=torch.float, device=DEVICE)
    model.model = [SimpleNamespace(stride=strides, nc=classes, reg_max=REG_MAX)]
    criterion = v8DetectionLoss(model)
    center = (batch.boxes[:, :2] + batch.boxes[:, 2:]) / 2
    side = batch.boxes[:, 2:] - batch.boxes[:, :2]
    samples = dict(
        batch_idx=batch.image.float(),
        cls=batch.label.float(),
        bboxes=torch.cat([center, side], 1) / batch.size,
    )

    def step() -> None:
        with torch.autocast(DEVICE, enabled=bool(amp)):
            logits = [z.half() if amp else z for z in batch.logits]
            dists = [d.half() if amp else d for d in batch.dists]
            outputs = dict(
                boxes=torch.cat([d.flatten(2) for d in dists], 2),
                scores=torch.cat([z.flatten(2) for z in logits], 2),
                feats=logits,
            )
            loss, _ = criterion(outputs, samples)
        batch.backward(loss.sum())

    return step


def make_step(name: str, case: dict) -> Callable[[], None]:
    """The step of a contestant on a case."""
    batch = Batch(case["classes"], case["size"], case["boxes"], case["images"])
    classes, amp = case["classes"], case["amp"]
    if name == ULTRALYTICS:
        return ultralytics_step(batch, classes, amp)
    if name == STOCK:
        return mm_step(batch, classes, amp, type="YOLOv8Head")
    loss = dict(type="AreaAwareBCELoss", area_weight=None, loss_weight=0.5)
    head = dict(type="AreaAwareYOLOv8Head")
    if name == OURS_ALL_ON:
        loss |= dict(
            area_weight=dict(type="PowerAreaWeight"),
            class_weight=dict(type="EffectiveNumberWeight"),
            margin=dict(type="LDAMMargin"),
            class_counts=list(range(1, classes + 1)),
        )
        head["loss_bg"] = dict(type="BgPenaltyLoss")
    assigner = dict(type="SparseTaskAlignedAssigner")
    return mm_step(batch, classes, amp, loss_cls=loss, assigner=assigner, **head)


def contestants() -> list[str]:
    names = [OURS, OURS_ALL_ON, STOCK]
    if importlib.util.find_spec("ultralytics"):
        import ultralytics

        if tuple(map(int, ultralytics.__version__.split(".")[:2])) >= (8, 4):
            return [*names, ULTRALYTICS]
        print(f"Ultralytics {ultralytics.__version__} is older than 8.4: left out")
    return names


def measure(case: dict, names: list[str], rounds: int) -> dict:
    """Memory of each contestant first: who runs out of it is not timed."""
    memory = {name: peak_memory(name, make_step, case) for name in names}
    steps = {n: make_step(n, case) for n in names if memory[n] is not None}
    counts = {name: count_operations(step) for name, step in steps.items()}
    if DEVICE == "cuda":
        for name, step in steps.items():
            counts[name] |= count_launches(step)
    times = interleaved_times(steps, rounds)
    # A difference of percents wants more rounds than one of multiples.
    pair = {name: steps[name] for name in (OURS, OURS_ALL_ON)}
    on_off = interleaved_times(pair, ON_OFF_ROUNDS * rounds)
    return dict(
        **case, memory_mib=memory, counts=counts, seconds=times, seconds_on_off=on_off
    )


def print_table(results: list[dict], names: list[str]) -> None:
    table = Table(title=f"assignment and loss, forward and backward, on {DEVICE}")
    for column in ("classes", "size", "boxes", *names):
        table.add_column(column, justify="right")
    for name in names:
        table.add_column(f"{name}\noperations", justify="right")
    for other in names[1:]:
        table.add_column(f"{other}\n/ {OURS}", justify="right")
    for result in results:
        times, memory = result["seconds"], result["memory_mib"]
        row = [f"{result[k]}" for k in ("classes", "size", "boxes")]
        for name in names:
            if name not in times:
                row.append("-")
                continue
            row.append(f"{median(times[name]) * 1e3:.1f} ms\n+{memory[name]:.0f} MiB")
        for name in names:
            counts = result["counts"].get(name)
            row.append(COUNTS.format(**counts) if counts else "-")
        for name in names[1:]:
            if name not in times:
                row.append("-")
                continue
            pairs = result["seconds_on_off"] if name == OURS_ALL_ON else times
            factor = ratio(pairs[name], pairs[OURS])
            less = memory[name] / max(memory[OURS], 0.1)
            row.append(f"{factor:.2f} x\n{less:.1f} x")
        table.add_row(*row)
    Console(width=max(100, Console().width)).print(table)


def median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())


def plot(results: list[dict], names: list[str], path: Path) -> None:
    """Time and memory against the number of boxes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in names:
        done = [r for r in results if name in r["seconds"]]
        boxes = [r["boxes"] for r in done]
        times = [median(r["seconds"][name]) * 1e3 for r in done]
        axes[0].plot(boxes, times, marker="o", label=name)
        memory = [r["memory_mib"][name] for r in done]
        axes[1].plot(boxes, memory, marker="o", label=name)
    for axis, label in zip(axes, ("time / ms", "peak extra memory / MiB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="boxes an image", ylabel=label)
        numbers = [r["boxes"] for r in results]
        axis.set_xticks(numbers, labels=numbers)
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend()
    case = results[0]
    figure.suptitle(
        f"{case['images']} images of {case['size']} px, {case['classes']} classes, "
        f"{'amp, ' if case['amp'] else ''}{DEVICE}"
    )
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 20, 200, 800, 2000])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 80])
    parser.add_argument("--size", type=int, nargs="+", default=[640, 1280])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--amp", type=int, nargs="+", default=[0], choices=[0, 1])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/loss_step"))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    grid = itertools.product(args.amp, args.classes, args.size, args.boxes)
    keys = ("amp", "classes", "size", "boxes")
    cases = [dict(zip(keys, c, strict=True), images=args.images) for c in grid]
    names = contestants()
    results = measure_all(
        args, cases, make_step, lambda case, rounds: measure(case, names, rounds)
    )
    print_table(results, names)
    for amp, classes, size in itertools.product(args.amp, args.classes, args.size):
        same = dict(amp=amp, classes=classes, size=size)
        chosen = [r for r in results if same.items() <= r.items()]
        name = f"loss_step_{classes}-classes_{size}px{'_amp' if amp else ''}.png"
        plot(chosen, names, args.out / name)
    print(f"{environment()}\nwritten to {args.out}")


if __name__ == "__main__":
    main()
