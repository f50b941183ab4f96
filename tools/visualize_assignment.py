"""Which priors does each box get? A picture for one image, and a table.

    python tools/visualize_assignment.py CONFIG --checkpoint CHECKPOINT --index 3

Takes an image of the training set through the config's own pipeline, runs the network
and its assigner, and draws a panel for each level: boxes, and in the colour of its box
every prior that box got, the larger the higher its soft target. The table says for
each box its size in px of the network input, its priors by level, its targets and its
area weight; boxes without a prior teach the network nothing. Without a checkpoint the
network is untrained: the candidates are real, the targets are small.
"""

import argparse
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
from mmengine.config import DictAction
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint, set_random_seed
from rich.console import Console
from rich.table import Table

from mmareaaware.analysis import (
    TrainingSetError,
    boxes_and_labels,
    build_training_set,
    open_config,
)
from mmareaaware.datasets import ignore_aware_collate
from mmareaaware.models import AreaAwareYOLOv8Head
from mmareaaware.visualization.assignment import MatchedPriors, draw_assignment


def print_table(matched: MatchedPriors, classes: list[str]) -> None:
    table = Table(title="boxes from small to large, px of the network input")
    levels = [f"stride {s}" for s in matched.strides]
    columns = ("class", "size", *levels, "Σ target", "best", "area weight")
    for name in columns:
        table.add_column(name, justify="left" if name == "class" else "right")
    sides = matched.boxes[:, 2:] - matched.boxes[:, :2]
    for g in sides.prod(1).argsort().tolist():
        mine = matched.box == g
        counts = [int((matched.stride[mine] == s).sum()) for s in matched.strides]
        label = int(matched.labels[g])
        row = [classes[label] if label < len(classes) else str(label)]
        row.append("{:.0f} × {:.0f}".format(*sides[g].tolist()))
        row += [str(n) if n else "·" for n in counts]
        if mine.any():
            row.append(f"{float(matched.targets[mine].sum()):.2f}")
            row.append(f"{float(matched.targets[mine].max()):.2f}")
            row.append(f"{float(matched.weights[mine].mean()):.2f}")
        table.add_row(*row, style=None if mine.any() else "red")
    Console(width=max(100, Console().width)).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--checkpoint")
    parser.add_argument(
        "--index", type=int, default=0, help="image of the training set"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the augmentation")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/assignment.png"))
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = open_config(args.config, args.cfg_options)
    init_default_scope(cfg.get("default_scope", "mmyolo"))
    set_random_seed(args.seed)
    model = MODELS.build(cfg.model)
    head = getattr(model, "bbox_head", None)  # that of two stages is elsewhere
    if not isinstance(head, AreaAwareYOLOv8Head):
        raise SystemExit(
            "error: bbox_head must be an AreaAwareYOLOv8Head, got "
            f"{type(head).__name__ if head else None} of a {type(model).__name__}"
        )
    if args.checkpoint:
        load_checkpoint(model, args.checkpoint, map_location="cpu")
    else:
        model.init_weights()
    model.train()  # the head returns distributions; statistics stay as they are
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    dataset = build_training_set(cfg)
    if not 0 <= args.index < len(dataset):
        raise SystemExit(
            f"error: --index must be in 0...{len(dataset) - 1}, got {args.index}"
        )
    item = dataset[args.index]
    boxes_and_labels(item)  # or an error in words
    image = item["inputs"].permute(1, 2, 0).numpy()[..., ::-1]  # BGR to RGB
    matched = MatchedPriors(model, ignore_aware_collate([item]))
    print_table(matched, list(dataset.metainfo.get("classes", [])))
    draw_assignment(matched, image, args.out)
    print(f"picture: {args.out}")


if __name__ == "__main__":
    try:
        main()
    except TrainingSetError as error:
        raise SystemExit(f"error: {error}") from None
