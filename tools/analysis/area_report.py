"""How large are my objects for the network, and what will the loss do with them?

    python tools/analysis/area_report.py CONFIG
    python tools/analysis/area_report.py CONFIG --images 100 --cfg-options key=value

Answers before any training, for any detection config of mmdet or mmyolo. Reads images
of the training set through the config's own pipeline and shows, in px of the network
input: sizes, classes, how many priors lie inside the boxes, which share of the
classification loss of the positives goes to small, medium and large boxes without and
with the configured area weight, and settings that these numbers speak for. Writes
area_report.png and area_report.json. What is counted, what is assumed:
mmareaaware/analysis/area_report.py; the rules: mmareaaware/analysis/suggestions.py.
"""

import argparse
import json
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
from mmengine.config import DictAction
from mmengine.registry import MODELS
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from mmareaaware.analysis import (
    TrainingSetError,
    area_report,
    default_scope,
    open_config,
    read_training_boxes,
    suggest,
    summarise,
    what_is_not_seen,
)
from mmareaaware.analysis.area_report import SIZES
from mmareaaware.analysis.figure import draw_report, shares_by_name
from mmareaaware.switching import add_switches, apply_switches
from mmareaaware.whole_file import write_whole

SHOWN_INPUTS = 4
SHOWN_CLASSES = 20  # in the table; all are in the JSON file


def print_report(found: dict, console: Console) -> None:
    print_images(found, console)
    console.print(
        "\nboxes by size in px of the network input: small < 32² ≤ medium < 96²"
    )
    console.print(size_table(found))
    if found["strides"]:
        console.print("stride: how many priors lie inside a box, on average")
    console.print("\nclasses")
    console.print(class_table(found))
    console.print("\nshares in the classification loss of the positives")
    console.print(loss_table(found))
    print_weights(found, console)
    console.print("\nsuggestions, from boxes that do not reach the edge of the input")
    console.print(suggestion_table(found))
    for note in found["not_seen"]:
        console.print(f"not seen here: {note}")


def print_images(found: dict, console: Console) -> None:
    per_image = torch.tensor(found["boxes_per_image"]).float()
    inputs = sorted(found["inputs"], key=lambda size: -size["images"])
    sizes = [f"{i['height']} × {i['width']} ({i['images']})" for i in inputs]
    if len(sizes) > SHOWN_INPUTS:
        sizes[SHOWN_INPUTS:] = [f"{len(sizes) - SHOWN_INPUTS} more"]
    console.print(
        f"{found['images']} images, height × width in px: {', '.join(sizes)}\n"
        f"{found['sizes']['all']['boxes']} boxes; an image has {per_image.mean():.1f} "
        f"on average, {per_image.median():.0f} in the median, at most "
        f"{per_image.max():.0f}; {(per_image == 0).float().mean():.0%} have none\n"
        f"{found['cut_off']:.0%} of the boxes reach the edge of the input"
    )


def size_table(found: dict) -> Table:
    levels = [f"stride {stride:g}" for stride in found["strides"]]
    table = new_table("size", "boxes", "share", *levels, *(["no prior"] * bool(levels)))
    for name, size in found["sizes"].items():
        row = [name, str(size["boxes"]), percent(size["share"])]
        row += [f"{number:.1f}" for number in size["priors"]]
        table.add_row(*row, *([percent(size["without_prior"])] * bool(levels)))
    return table


def class_table(found: dict) -> Table:
    table = new_table("class", "boxes", "share", "median side")
    classes = sorted(found["classes"], key=lambda one: -one["boxes"])
    for one in classes[:SHOWN_CLASSES]:
        side = "·" if one["median_side"] is None else f"{one['median_side']:.0f} px"
        share = one["boxes"] / found["sizes"]["all"]["boxes"]
        table.add_row(one["name"], str(one["boxes"]), percent(share), side)
    if len(classes) > SHOWN_CLASSES:
        table.add_row(f"{len(classes) - SHOWN_CLASSES} more, in the JSON file")
    return table


def loss_table(found: dict) -> Table:
    table = new_table("", *SIZES)
    for name, shares in shares_by_name(found).items():
        table.add_row(name, *(map(percent, shares) if shares else ["?"] * len(SIZES)))
    return table


def print_weights(found: dict, console: Console) -> None:
    console.print(f"assumed: {found['assumption']}")
    for weighting in found["area_weights"]:
        console.print(
            f"{weighting['module']}: {weighting['area_weight']}, "
            f"normalize={weighting['normalize']!r}, strength={weighting['strength']}"
        )
        if weighting["unknown"]:
            console.print(f"not known before training: {weighting['unknown']}")
        else:
            console.print(f"the loss of the positives × {weighting['loss_factor']:.2f}")
    if not found["area_weights"]:
        console.print("the config has no area weight")


def suggestion_table(found: dict) -> Table:
    table = Table("setting", Column("value", justify="right"), "why")
    for suggestion in found["suggestions"]:
        value = suggestion["value"]
        value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        table.add_row(suggestion["setting"], str(value), suggestion["reason"])
    return table


def new_table(first: str, *numbers: str) -> Table:
    return Table(first, *(Column(name, justify="right") for name in numbers))


def percent(share: float) -> str:
    return f"{share:.1%}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--images", type=int, default=500, help="read at most so many images"
    )
    parser.add_argument("--seed", type=int, default=0, help="of order and augmentation")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/area_report"))
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    add_switches(parser)
    args = parser.parse_args()
    if args.images < 1:
        parser.error(f"--images must be at least 1, got {args.images}")
    return args


def main() -> None:
    args = parse_args()
    cfg = open_config(args.config, args.cfg_options)
    apply_switches(cfg, args)
    data = read_training_boxes(cfg, args.images, args.seed, track)
    with default_scope(cfg):
        report = area_report(data, MODELS.build(cfg.model))
    suggested, suggestions = suggest(report)
    found = dict(
        config=str(args.config),
        seed=args.seed,
        **summarise(report, suggested),
        suggestions=[suggestion._asdict() for suggestion in suggestions],
        not_seen=what_is_not_seen(cfg),
    )
    print_report(found, Console(width=max(100, Console().width)))
    path = args.out / "area_report.json"
    write_whole(path, json.dumps(found, indent=1))
    weightings = [*report.weightings, *([suggested] if suggested else [])]
    draw_report(found, weightings, path.with_suffix(".png"))
    print(f"numbers: {path}\npicture: {path.with_suffix('.png')}")


if __name__ == "__main__":
    try:
        main()
    except TrainingSetError as error:
        raise SystemExit(f"error: {error}") from None
