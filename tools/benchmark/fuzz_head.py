"""Ten thousand random inputs of AreaAwareYOLOv8Head: what comes out is finite, or said.

    python tools/benchmark/fuzz_head.py --cases 10000 --out work_dirs/fuzz_head

Settings, logits and boxes of each case are drawn from its number. A case ends as

- finite: all losses, all that is logged and all gradients are;
- refused: an error in words, where the boxes or labels are none that can be trained on;
- WRONG: a number that is not finite, an error on sound input, another kind of error, or
  no error on what cannot be trained on. The number of the case is printed:
  `--first NUMBER --cases 1` runs it again.
"""

import argparse
import random
from collections import Counter
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import mmareaaware  # noqa: F401 (registers)
from mmareaaware.benchmarking.measuring import write_record

STRIDES = (8, 16, 32)
REG_MAX = 16
DTYPES = (torch.float32, torch.float32, torch.float16, torch.bfloat16)
ASSIGNERS = ("SparseTaskAlignedAssigner", "BatchTaskAlignedAssigner")
AREA_WEIGHTS = (
    dict(type="PowerAreaWeight"),
    dict(type="PowerAreaWeight", gamma=2.0, min_weight=0.0, max_weight=1e6),
    dict(type="LogAreaWeight", min_weight=0.0),
    dict(type="StepAreaWeight"),
    dict(type="StepAreaWeight", sides=(8,), weights=(0.0, 1.0)),
    dict(type="BoxScaleWeight"),
    dict(type="AreaMismatchWeight"),
    dict(type="PyramidMembershipWeight"),
    dict(type="PyramidMembershipWeight", temperature=0.01),
)
SOUND = ("any", "no area", "inverted", "outside", "larger than the image", "specks")
UNSOUND = ("huge", "infinite", "not a number")


def settings(rng: random.Random, num_classes: int) -> dict:
    """What of a head's config is not the recipe's."""
    assigner = dict(type=rng.choice(ASSIGNERS), num_classes=num_classes, use_ciou=True)
    assigner |= dict(topk=rng.choice([1, 10, 13]), alpha=rng.choice([0.5, 1.0]))
    head = dict(train_cfg=dict(assigner=assigner))
    if assigner["type"] == ASSIGNERS[0]:
        assigner |= dict(min_side=rng.choice([0.0, 16.0]))
        head["balance_objects"] = rng.choice([0.0, 0.5, 1.0])
    if rng.random() < 0.85:
        counts = [rng.choice([0, 1, 1000]) for _ in range(num_classes)]
        area_weight = rng.choice((None, *AREA_WEIGHTS))
        head["loss_cls"] = dict(
            type="AreaAwareBCELoss",
            area_weight=area_weight,
            normalize=rng.choice(["mean", "none"]),
            strength=rng.choice([0.0, 0.5, 1.0]) if area_weight else 1.0,
            class_weight=rng.choice([None, dict(type="EffectiveNumberWeight")]),
            margin=rng.choice([None, dict(type="LDAMMargin")]),
            class_counts=counts,
            label_smoothing=rng.choice([0.0, 0.1]),
            focal_gamma=rng.choice([0.0, 0.0, 1.0, 1.5, 2.0]),
            loss_weight=rng.choice([0.0, 0.5]),
        )
        if head["loss_cls"]["area_weight"] is not None:
            head["weigh_boxes"] = rng.random() < 0.5
            head["weigh_priors"] = rng.random() < 0.3
    if rng.random() < 0.7:
        head["loss_bg"] = dict(
            type="BgPenaltyLoss",
            mode=rng.choice(["max", "focal"]),
            lambda_bg=rng.choice([0.0, 0.1, 5.0, 1000.0]),
            gamma=rng.choice([0.0, 0.5, 2.0]),
            normalizer=rng.choice(["positives", "background"]),
        )
    return head


def build(rng: random.Random, num_classes: int) -> torch.nn.Module:
    """A head with the class count and random settings."""
    module = dict(
        type="YOLOv8HeadModule",
        num_classes=num_classes,
        in_channels=[8, 8, 8],
        featmap_strides=list(STRIDES),
    )
    options = settings(rng, num_classes)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        head = MODELS.build(
            ConfigDict(type="AreaAwareYOLOv8Head", head_module=module, **options)
        )
    return head.train()


def outputs(
    rng: random.Random, num_imgs: int, num_classes: int, size: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Logits and distributions of all levels, up to the ends of half precision."""
    dtype, scale = rng.choice(DTYPES), rng.choice([0.0, 0.1, 1.0, 10.0, 100.0, 6e4])
    logits, distances, dists = [], [], []
    for stride in STRIDES:
        side = size // stride
        noise = torch.randn(num_imgs, num_classes, side, side).clamp(-1, 1)
        logits.append((noise * scale).to(dtype).requires_grad_())
        noise = torch.randn(num_imgs, side * side, 4, REG_MAX).clamp(-1, 1)
        dist = (noise * min(scale, 100.0)).to(dtype).requires_grad_()
        distance = dist.float().softmax(-1) @ torch.arange(float(REG_MAX))
        shape = num_imgs, side, side, 4
        distances.append(distance.view(shape).permute(0, 3, 1, 2))
        dists.append(dist)
    return logits, distances, dists


def ground_truth(
    rng: random.Random, num_imgs: int, num_classes: int, size: int
) -> tuple[Tensor, bool]:
    """Boxes (G, 6), and whether they can be trained on."""
    number = rng.choice([0, 1, 3, 10, 300])
    image = torch.randint(num_imgs, (number, 1)).sort(0).values
    label = torch.randint(num_classes, (number, 1))
    centre = torch.rand(number, 2) * size
    side = torch.rand(number, 2) * size / 2
    kinds = SOUND + (UNSOUND if rng.random() < 0.3 else ())
    chosen = rng.choice(kinds), rng.choice(kinds)
    second = torch.rand(number, 1) < 0.3
    for kind, rows in zip(chosen, (~second, second), strict=True):
        where = rows.expand(-1, 2)
        match kind:
            case "no area":
                side[where] = side[where] * rng.choice([0.0, 1e-30])
            case "inverted":
                side[where] = -side[where]
            case "outside":
                centre[where] = centre[where] + rng.choice([-1, 1]) * 3 * size
            case "larger than the image":
                side[where] = side[where] * 100
            case "specks":
                side[where] = side[where] * 1e-3
            case "huge":
                centre[where] = rng.choice([-1e30, 1e30, 3e38])
            case "infinite":
                side[where] = torch.inf
            case "not a number":
                centre[where] = torch.nan
    boxes = torch.cat([image, label, centre - side / 2, centre + side / 2], 1)
    if rng.random() < 0.05 and number:
        boxes[rng.randrange(number), 1] = rng.choice([-1, num_classes, 10**6])
    is_class = (boxes[:, 1] >= 0) & (boxes[:, 1] < num_classes)
    return boxes, bool((is_class & (boxes[:, 2:].abs() <= 1e6).all(1)).all())


def ignored(rng: random.Random, num_imgs: int, size: int) -> Tensor | None:
    """Ignored boxes (M, 5), or none."""
    number = rng.choice([0, 0, 1, 20])
    image = torch.randint(num_imgs, (number, 1))
    corners = torch.randn(number, 4) * size * rng.choice([0.0, 1.0, 1e4])
    return torch.cat([image, corners], 1) if number else None


def run(case: int) -> str:
    """How a case ends."""
    rng = random.Random(case)
    torch.manual_seed(case)
    num_imgs, num_classes = rng.choice([1, 2, 3]), rng.choice([1, 3, 10])
    size = rng.choice([32, 64, 128])
    head = build(rng, num_classes)
    maps = outputs(rng, num_imgs, num_classes, size)
    boxes, is_sound = ground_truth(rng, num_imgs, num_classes, size)
    metas = [dict(batch_input_shape=(size, size))] * num_imgs
    try:
        losses = head.loss_by_feat(*maps, boxes, metas, ignored(rng, num_imgs, size))
        sum(v for k, v in losses.items() if k.startswith("loss")).backward()
    except (ValueError, RuntimeError) as error:
        if is_sound:
            return f"WRONG: {type(error).__name__} on sound input: {error}"
        return f"refused: {error}"
    except (LookupError, TypeError, AssertionError) as error:
        return f"WRONG: {type(error).__name__}: {error}"
    gradients = [x.grad for level in maps[::2] for x in level if x.grad is not None]
    bad = {name for name, value in losses.items() if not value.isfinite().all()}
    if not all(gradient.isfinite().all() for gradient in gradients):
        bad.add("gradient")
    if bad:
        return f"WRONG: not finite: {', '.join(sorted(bad))}"
    if not is_sound:
        return "WRONG: trained on what cannot be trained on"
    return "finite"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default="work_dirs/fuzz_head")
    args = parser.parse_args()
    counts, first = Counter(), {}
    for case in track(range(args.first, args.first + args.cases), "cases"):
        outcome = run(case)
        counts[outcome] += 1
        first.setdefault(outcome, case)
    table = Table("outcome", "cases", "first", title="AreaAwareYOLOv8Head")
    for outcome, number in counts.most_common():
        table.add_row(outcome, str(number), str(first[outcome]))
    Console().print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    results = [
        dict(outcome=outcome, cases=number, first=first[outcome])
        for outcome, number in counts.most_common()
    ]
    write_record(args.out / "fuzz_head.json", results)
    if any(outcome.startswith("WRONG") for outcome in counts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
