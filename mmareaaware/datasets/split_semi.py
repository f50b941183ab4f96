"""Splits a COCO data set into a labelled and an unlabelled part."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class SplitError(ValueError):
    """The data cannot be split like this; the message names a way that can."""


class Counts(NamedTuple):
    """Images and boxes of one file."""

    images: int
    boxes: dict[str, int]  # by the name of the class
    images_of: dict[str, int]  # images with a box of the class


def read_coco(path: Path) -> dict:
    """Read a file in COCO format.

    Raises:
        SplitError: It is none, or cannot be read.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise SplitError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SplitError(f"{path} is no JSON: {error}") from error
    keys = ("images", "annotations", "categories")
    missing = [k for k in keys if not isinstance(content, dict) or k not in content]
    if missing:
        raise SplitError(f"{path} is no COCO file: it has no {', '.join(missing)}")
    return content


def split_semi(
    content: Mapping, percent: float, folds: int, seed: int = 0
) -> list[set[int]]:
    """Choose the labelled images of each fold.

    Every class that has boxes is on a labelled image of every fold: the classes of
    fewest images choose first, in all folds; what is left is filled up at random. No
    image is labelled in two folds, but for those of a class that has fewer images than
    there are folds. Crowds are no boxes here.

    Args:
        content: Of a file in COCO format.
        percent: Labelled images of all images, in percent.
        folds: How many splits.
        seed: Of everything random; the same arguments give the same splits.

    Returns:
        For each fold the ids of the labelled images.

    Raises:
        SplitError: There is to be no fold, or the percentage is none, leaves no image
            on one side, is too small for all classes, or too large for so many folds.
    """
    if folds < 1:
        raise SplitError(f"there must be one fold or more, got {folds}")
    if not 0 < percent < 100:
        raise SplitError(f"percent must be between 0 and 100, got {percent:g}")
    ids = [image["id"] for image in content["images"]]
    size = round(len(ids) * percent / 100)
    if not 0 < size < len(ids):
        raise SplitError(
            f"{percent:g} % of {len(ids)} images are {size}: both parts need some"
        )
    if size * folds > len(ids):
        raise SplitError(
            f"{folds} folds of {percent:g} % need more images than the {len(ids)} that "
            f"there are: take at most {len(ids) // size} folds, or one fold with each "
            "of several seeds"
        )
    rng = np.random.default_rng([seed, size])
    order = [ids[i] for i in rng.permutation(len(ids))]
    splits = _one_of_each_class(images_of_classes(content), order, folds)
    largest = max(map(len, splits))
    if largest > size:
        raise SplitError(
            f"{percent:g} % of {len(ids)} images are {size}, and to have every class "
            f"there it takes {largest}: take {100 * largest / len(ids):.2g} % or more"
        )
    taken = set().union(*splits)
    free = [image for image in order if image not in taken]
    for split in splits:
        missing = size - len(split)
        split.update(free[:missing])
        del free[:missing]
    return splits


def _one_of_each_class(
    images_of: Mapping[int, set[int]], order: Sequence[int], folds: int
) -> list[set[int]]:
    """For each fold images (ids) with every class, as few as the rarest first gives."""
    splits: list[set[int]] = [set() for _ in range(folds)]
    for images in sorted(images_of.values(), key=len):
        candidates = [image for image in order if image in images]
        for number, split in enumerate(splits):
            if split.isdisjoint(images):
                taken = set().union(*splits)
                free = (image for image in candidates if image not in taken)
                shared = candidates[number % len(candidates)]
                split.add(next(free, shared))
    return splits


def images_of_classes(content: Mapping) -> dict[int, set[int]]:
    """The images (ids) with a box of each category (id) that has any."""
    images_of = defaultdict(set)
    for annotation in _boxes(content):
        images_of[annotation["category_id"]].add(annotation["image_id"])
    return dict(images_of)


def take_images(content: Mapping, ids: set[int]) -> dict:
    """The part of a COCO file that is about some images.

    Args:
        content: Of the file.
        ids: Of the images.

    Returns:
        The content with these images and their annotations alone.
    """
    images = [image for image in content["images"] if image["id"] in ids]
    annotations = [a for a in content["annotations"] if a["image_id"] in ids]
    return dict(content, images=images, annotations=annotations)


def count(content: Mapping) -> Counts:
    """Count images and boxes by class."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes = dict.fromkeys(names.values(), 0)
    for annotation in _boxes(content):
        boxes[names[annotation["category_id"]]] += 1
    of = images_of_classes(content)
    images_of = {name: len(of.get(i, ())) for i, name in names.items()}
    return Counts(len(content["images"]), boxes, images_of)


def _boxes(content: Mapping) -> Iterator[Mapping]:
    """The annotations that a training has objects of."""
    images = {image["id"] for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        is_known = (
            annotation["category_id"] in categories and annotation["image_id"] in images
        )
        if is_known and not annotation.get("iscrowd", 0):
            yield annotation
