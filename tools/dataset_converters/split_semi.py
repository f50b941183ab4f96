"""Splits a COCO file into a labelled and an unlabelled part, for configs/semi.

    python tools/dataset_converters/split_semi.py data/birds/annotations/train.json

writes ``data/birds/semi_anns/train.{fold}@{percent}.json`` and, of all other images,
``train.{fold}@{percent}-unlabeled.json``, the names that MMDetection gives them. Every
class is on a labelled image, the rarest too. The unlabelled file keeps its annotations,
with which the log can say how good the pseudo-labels are; a training does not learn
from them. To see that it does not, leave them out with --strip.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmareaaware.datasets.split_semi import (
    SplitError,
    count,
    read_coco,
    split_semi,
    take_images,
)
from mmareaaware.whole_file import write_whole


def report(title: str, labelled: dict, unlabelled: dict) -> Table:
    """Images and boxes of each class in both parts."""
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for kind in ("labelled", "unlabelled"):
        for what in ("images", "boxes"):
            table.add_column(f"{kind} {what}", justify="right")
    parts = [count(labelled), count(unlabelled)]
    for name in parts[0].boxes:
        numbers = [n for p in parts for n in (p.images_of[name], p.boxes[name])]
        table.add_row(name, *map(str, numbers))
    totals = [n for p in parts for n in (p.images, sum(p.boxes.values()))]
    table.add_section()
    table.add_row("all", *map(str, totals))
    return table


def write_splits(args: argparse.Namespace) -> None:
    """Split, write and report."""
    content = read_coco(args.ann_file)
    out = args.out or args.ann_file.resolve().parent.parent / "semi_anns"
    splits = {p: split_semi(content, p, args.folds, args.seed) for p in args.percents}
    everything = {image["id"] for image in content["images"]}
    for percent, folds in splits.items():
        for number, ids in enumerate(folds, 1):
            labelled = take_images(content, ids)
            unlabelled = take_images(content, everything - ids)
            title = f"{args.ann_file.stem}.{number}@{percent:g}"
            # What is known of the boxes, before it is thrown away
            Console().print(report(title, labelled, unlabelled))
            if args.strip:
                unlabelled["annotations"] = []
            write_whole(out / f"{title}.json", json.dumps(labelled))
            write_whole(out / f"{title}-unlabeled.json", json.dumps(unlabelled))
    print(f"written to {out}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ann_file", type=Path, help="file in COCO format")
    parser.add_argument(
        "--percents",
        type=float,
        nargs="+",
        default=[1, 5, 10],
        help="of the images to be labelled, default: 1 5 10",
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=1,
        help="splits of each percentage, their labelled images disjoint, default: 1",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--strip",
        action="store_true",
        help="leave the annotations out of the unlabelled files",
    )
    parser.add_argument(
        "--out", type=Path, help="default: semi_anns beside the folder of ann_file"
    )
    try:
        write_splits(parser.parse_args())
    except (SplitError, OSError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
