"""Converts a data set in YOLO's text format to COCO format.

    python tools/dataset_converters/yolo2coco.py data/birds/data.yaml

reads Ultralytics' layout: a YAML file with ``names``, ``train`` and ``val``, the images
there, and for ``images/train/a.jpg`` the objects in ``labels/train/a.txt``. Outlines
become boxes. Writes ``annotations/{train,val,test}.json`` into the folder of the data,
and reports what was skipped and why.
"""

import argparse
import json
from pathlib import Path

from rich.progress import track

from mmareaaware.conversion.yolo_labels import (
    YoloData,
    YoloDataError,
    read_data_yaml,
    to_coco,
)
from mmareaaware.whole_file import write_whole


def write(data: YoloData, split: str, out: Path) -> None:
    """Convert a split and say what came of it."""
    content, report = to_coco(
        data, split, progress=lambda images: track(images, description=split)
    )
    file = out / f"{split}.json"
    write_whole(file, json.dumps(content))
    print(
        f"{file}: {len(content['images'])} images, "
        f"{len(content['annotations'])} boxes, {len(data.classes)} classes"
    )
    for line in report.lines():
        print(f"  {line}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="YAML file of the data set")
    parser.add_argument(
        "--out", type=Path, help="folder for the annotations, default: in that of data"
    )
    args = parser.parse_args()
    try:
        data = read_data_yaml(args.data)
        out = args.out or data.root / "annotations"
        for split in data.splits:
            write(data, split, out)
    except (YoloDataError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    print(
        "In a config: data_root='{}', ann_file='annotations/train.json', "
        "data_prefix=dict(img=''), metainfo=dict(classes={})".format(
            f"{data.root}/", data.classes
        )
    )


if __name__ == "__main__":
    main()
