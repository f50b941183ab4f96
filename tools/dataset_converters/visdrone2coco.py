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
from pathlib import Path

from rich.progress import track

from mmareaaware.conversion.visdrone import CLASSES, SPLITS, convert
from mmareaaware.whole_file import write_whole


def write(root: Path, split: str) -> None:
    """Convert a split and say what came of it."""
    content, skipped = convert(
        root, split, progress=lambda files: track(files, f"VisDrone {split}")
    )
    out = root / "annotations" / f"{split}.json"
    write_whole(out, json.dumps(content))
    crowds = sum(a["iscrowd"] for a in content["annotations"])
    print(
        f"{out}: {len(content['images'])} images, "
        f"{len(content['annotations']) - crowds} boxes, "
        f"{crowds // len(CLASSES)} regions in which detections do not count"
    )
    for reason, number in skipped.most_common():
        print(f"  skipped {number}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder with the unpacked archives")
    root = parser.parse_args().root
    splits = [s for s, folder in SPLITS.items() if (root / folder / "images").is_dir()]
    if not splits:
        raise SystemExit(
            f"error: none of {[f'{root / f}/images' for f in SPLITS.values()]} exists"
        )
    for split in splits:
        write(root, split)


if __name__ == "__main__":
    main()
