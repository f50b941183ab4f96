"""VisDrone2019-DET's annotations to COCO's."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

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


def convert(root: Path, split: str, progress: Callable = iter) -> tuple[dict, Counter]:
    """Convert one split.

    Args:
        root: Folder with the unpacked archives.
        split: ``'train'``, ``'val'`` or ``'test'``.
        progress: Wraps the images, to show progress.

    Returns:
        The COCO content, and how many lines or images were skipped for each reason.
    """
    images, annotations, skipped = [], [], Counter()
    files = sorted((root / SPLITS[split] / "images").glob("*.jpg"))
    for image_id, file in enumerate(progress(files)):
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
