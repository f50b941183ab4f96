"""Reads data sets in Ultralytics' layout: a YAML file, images, and a text for each.

The text of ``images/train/a.jpg`` is ``labels/train/a.txt``. A line of it is an object:
the number of its class, and either centre, width and height of its box, or the corners
of its outline, all as parts of the width and height of the image.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import yaml
from PIL import Image, UnidentifiedImageError

IMAGE_TYPES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SPLITS = ("train", "val", "test")
EXIF_ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
TOLERANCE = 0.01  # of coordinates that were rounded


class YoloDataError(ValueError):
    """A data set is not in the layout; the message names file and fix."""


@dataclass
class YoloData:
    """What the YAML file says.

    Args:
        root: Folder that the paths are relative to.
        classes: Names by number.
        splits: For each split the folders or lists of its images.
        num_keypoint_numbers: Numbers that follow each box, of keypoints.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, list[Path]]
    num_keypoint_numbers: int = 0


@dataclass
class Report:
    """What a conversion left out or took as background, and why.

    Args:
        counts: How often, by reason.
        examples: The first file, or line of a file, by reason.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count one more, at a file or a line of it."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.examples.setdefault(reason, place)

    def lines(self) -> list[str]:
        """For each reason a line, the most frequent first."""
        reasons = sorted(self.counts, key=lambda reason: -self.counts[reason])
        return [f"{self.counts[r]} × {r}, first {self.examples[r]}" for r in reasons]


def read_data_yaml(path: str | Path) -> YoloData:
    """Read the YAML file of a data set.

    Args:
        path: The file, with ``names`` (a list, or numbers to names), ``train`` and
            ``val`` and perhaps ``test`` (a folder, a list of paths in a text file, or
            several of them), and perhaps ``path``, the folder they are in, and
            ``kpt_shape``, number and dimensions of the keypoints behind each box.

    Returns:
        The names, and those folders and lists that there are.

    Raises:
        YoloDataError: Something is missing, or names no file or folder.
        OSError: The file cannot be read.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise YoloDataError(f"{path} is no YAML file: {reason}") from error
    if not isinstance(content, dict):
        raise YoloDataError(f"{path} holds no names and splits")
    classes = _classes(content, path)
    root = (path.parent / str(content.get("path") or "")).resolve()
    splits = {}
    for split in SPLITS:
        places = content.get(split) or []
        places = places if isinstance(places, list) else [places]
        if not all(isinstance(place, str) for place in places):
            raise YoloDataError(f"{path}: {split} must be a path or a list of them")
        splits[split] = [root / place for place in places]
        for place in splits[split]:
            if not place.exists():
                raise YoloDataError(
                    f"{path}: {split} is {place}, which does not exist. Paths are "
                    "relative to `path`, and that to the folder of this file"
                )
    if not any(splits.values()):
        raise YoloDataError(f"{path} has none of {', '.join(SPLITS)}")
    splits = {k: v for k, v in splits.items() if v}
    return YoloData(root, classes, splits, _keypoint_numbers(content, path))


def _keypoint_numbers(content: dict, path: Path) -> int:
    shape = content.get("kpt_shape") or [0]
    if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        raise YoloDataError(
            f"{path}: kpt_shape must be the number of keypoints and 2 or 3, got {shape}"
        )
    return prod(shape)


def _classes(content: dict, path: Path) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise YoloDataError(
                f"{path}: names must be numbered 0…{len(names) - 1}, got {list(names)}"
            )
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise YoloDataError(f"{path}: names must name the classes, got {names!r}")
    names = tuple(map(str, names))
    if len(set(names)) < len(names):
        raise YoloDataError(f"{path}: a name stands twice in names, {list(names)}")
    if content.get("nc", len(names)) != len(names):
        raise YoloDataError(f"{path}: nc is {content['nc']}, of {len(names)} names")
    return names


def find_images(places: Iterable[Path]) -> list[Path]:
    """The images of a split, each once.

    Args:
        places: Folders, searched with all folders in them, or text files with the path
            of an image in each line, relative to the folder of the text file.

    Returns:
        Their paths, in each place in order.

    Raises:
        YoloDataError: A place is neither, or there is no image.
    """
    places, images = list(places), []
    for place in places:
        if place.is_dir():
            found = (p for p in place.rglob("*") if p.suffix.lower() in IMAGE_TYPES)
            images += sorted(found)
        elif place.suffix == ".txt":
            lines = place.read_text(encoding="utf-8").splitlines()
            images += [place.parent / line.strip() for line in lines if line.strip()]
        else:
            raise YoloDataError(f"{place} is neither a folder nor a list of images")
    if not images:
        raise YoloDataError(f"no image in {', '.join(map(str, places))}")
    return list(dict.fromkeys(images))


def label_file(image: Path) -> Path:
    """Where the objects of an image are: in ``labels`` instead of ``images``."""
    parts = list(image.parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def parse_line(
    line: str, num_classes: int, num_keypoint_numbers: int = 0
) -> tuple[tuple[int, tuple[float, float, float, float]] | None, str]:
    """Read one line.

    Args:
        line: The line.
        num_classes: The number C of classes.
        num_keypoint_numbers: How many follow each box, and are left out.

    Returns:
        Label (0-based) and box (x1, y1, x2, y2), as parts of the image's width and
        height and cut at its border, and ''. Or None, and why the line is skipped.
    """
    try:
        label, *numbers = map(float, line.split())
    except ValueError:
        return None, "line skipped, not of numbers"
    if num_keypoint_numbers and len(numbers) == 4 + num_keypoint_numbers:
        numbers = numbers[:4]
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        return None, "line skipped, neither a box of 5 numbers nor an outline"
    if not label.is_integer() or not 0 <= label < num_classes:
        return None, f"line skipped, class is not one of 0…{num_classes - 1}"
    if not all(-TOLERANCE <= number <= 1 + TOLERANCE for number in numbers):  # nor nan
        return None, "line skipped, coordinates not between 0 and 1 (pixels?)"
    if len(numbers) == 4:
        x, y, w, h = numbers
        edges = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    else:
        xs, ys = numbers[::2], numbers[1::2]
        edges = (min(xs), min(ys), max(xs), max(ys))
    x1, y1, x2, y2 = (min(max(edge, 0.0), 1.0) for edge in edges)
    if x2 <= x1 or y2 <= y1:
        return None, "line skipped, box without area in the image"
    return (int(label), (x1, y1, x2, y2)), ""


def to_coco(
    data: YoloData,
    split: str,
    progress: Callable[[Iterable], Iterable] = lambda images: images,
) -> tuple[dict, Report]:
    """Convert one split.

    Args:
        data: From ``read_data_yaml``.
        split: A key of ``data.splits``.
        progress: Gets the paths of the images and yields them, to show progress.

    Returns:
        The content of a COCO file, boxes in pixels, names of images relative to
        ``data.root``, and class k as category k + 1; and what was left out.

    Raises:
        YoloDataError: There is no image.
    """
    images, annotations, report = [], [], Report()
    for path in progress(find_images(data.splits[split])):
        name = _relative(path, data.root)
        try:
            width, height = _size(path)
        except FileNotFoundError:
            report.add("image skipped, it does not exist", name)
            continue
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            report.add("image skipped, it cannot be read", name)
            continue
        image_id = len(images)
        images.append(dict(id=image_id, file_name=name, width=width, height=height))
        for label, (x1, y1, x2, y2) in _objects(path, data, report):
            x, y = round(x1 * width, 3), round(y1 * height, 3)
            w, h = round((x2 - x1) * width, 3), round((y2 - y1) * height, 3)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=label + 1,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
            )
    categories = [dict(id=i, name=name) for i, name in enumerate(data.classes, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    return content, report


def _objects(path: Path, data: YoloData, report: Report) -> list[tuple]:
    """Label and box of each object of an image, each once."""
    file = label_file(path)
    name = _relative(file, data.root)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        report.add("image kept as background, it has no label file", name)
        return []
    except UnicodeDecodeError:
        report.add("image kept as background, its label file is no text", name)
        return []
    objects = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parsed, reason = parse_line(line, len(data.classes), data.num_keypoint_numbers)
        if parsed in objects:
            reason = "line skipped, the same object stands there already"
        if reason:
            report.add(reason, f"{name}:{number}")
        else:
            objects[parsed] = None
    if not any(line.strip() for line in lines):
        report.add("image kept as background, its label file is empty", name)
    return list(objects)


def _size(path: Path) -> tuple[int, int]:
    """Width and height as mmcv loads the image, turned as its camera says."""
    with Image.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(EXIF_ORIENTATION) in TURNED
    return (height, width) if turned else (width, height)


def _relative(path: Path, root: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
