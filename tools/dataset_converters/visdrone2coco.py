"""Converts VisDrone2019-DET annotations to COCO format.

    python tools/dataset_converters/visdrone2coco.py data/visdrone

expects ``VisDrone2019-DET-{train,val}/{images,annotations}`` in that folder, as the
archives unpack, and writes ``annotations/{train,val}.json``. Splits that are not there
are left out. What is skipped, and why, is reported.

What VisDrone does not evaluate, its ignored regions, the category "others" and boxes
marked so, is kept as ``iscrowd``, once for each class: COCO's evaluation looks at one
class at a time, and a detection there is no false alarm of any class.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from PIL import Image
from rich.progress import track

CLASSES = (
    "pedestrian",
    "people",
    "bicycle",
    "car",
    "van",
    "truck",
    "tricycle",
    "awning-tricycle",
    "bus",
    "motor",
)
IGNORED_REGION, OTHERS = 0, 11
SPLITS = {
    "train": "VisDrone2019-DET-train",
    "val": "VisDrone2019-DET-val",
    "test": "VisDrone2019-DET-test-dev",
}


def parse_line(line: str, width: int, height: int) -> tuple[list[dict], str]:
    """Read one line ``x,y,w,h,score,category,truncation,occlusion``.

    Args:
        line: The line.
        width: Width of the image in px.
        height: Height of the image in px.

    Returns:
        The COCO annotations without ids, one, or one for each class where detections
        are to be ignored, and ''. Or none, and why the line is skipped.
    """
    try:
        x, y, w, h, score, category = (int(v) for v in line.split(",")[:6])
    except ValueError:
        return [], "malformed line"
    if not IGNORED_REGION <= category <= OTHERS:
        return [], "unknown category"
    left, top = max(x, 0), max(y, 0)
    w, h = min(x + w, width) - left, min(y + h, height) - top
    if w <= 0 or h <= 0:
        return [], "box without area in the image"
    is_ignored = score == 0 or category in (IGNORED_REGION, OTHERS)
    categories = range(1, len(CLASSES) + 1) if is_ignored else [category]
    box = dict(bbox=[left, top, w, h], area=w * h, iscrowd=int(is_ignored))
    return [dict(category_id=i, **box) for i in categories], ""


def convert(root: Path, split: str) -> tuple[dict, Counter]:
    """Convert one split.

    Args:
        root: Folder with the unpacked archives.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        The COCO content, and how many lines or images were skipped for each reason.
    """
    images, annotations, skipped = [], [], Counter()
    files = sorted((root / SPLITS[split] / "images").glob("*.jpg"))
    for image_id, file in enumerate(track(files, description=f"VisDrone {split}")):
        with Image.open(file) as image:
            width, height = image.size
        images.append(
            dict(id=image_id, file_name=file.name, width=width, height=height)
        )
        labels = root / SPLITS[split] / "annotations" / f"{file.stem}.txt"
        if not labels.exists():
            skipped["image without annotation file, kept as empty"] += 1
            continue
        for line in labels.read_text().splitlines():
            parsed, reason = parse_line(line, width, height)
            if reason:
                skipped[reason] += 1
            for i, annotation in enumerate(parsed, len(annotations) + 1):
                annotations.append(dict(id=i, image_id=image_id, **annotation))
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    return content, skipped


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder with the unpacked archives")
    root = parser.parse_args().root
    splits = [s for s, folder in SPLITS.items() if (root / folder / "images").is_dir()]
    if not splits:
        raise SystemExit(
            f"none of {[f'{root / f}/images' for f in SPLITS.values()]} exists"
        )
    (root / "annotations").mkdir(exist_ok=True)
    for split in splits:
        content, skipped = convert(root, split)
        out = root / "annotations" / f"{split}.json"
        out.write_text(json.dumps(content))
        crowds = sum(a["iscrowd"] for a in content["annotations"])
        print(
            f"{out}: {len(content['images'])} images, "
            f"{len(content['annotations']) - crowds} boxes, "
            f"{crowds // len(CLASSES)} regions in which detections do not count"
        )
        for reason, number in skipped.most_common():
            print(f"  skipped {number}: {reason}")


if __name__ == "__main__":
    main()
