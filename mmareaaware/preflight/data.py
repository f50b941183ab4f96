"""Labels, boxes and categories of the data sets of a training."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmdet.models.dense_heads import RPNHead
from torch import nn

from ..models.task_modules import MAX_COORDINATE
from .categories import read_categories
from .finding import Finding

TRAIN = "train_dataloader.dataset"
VAL = "val_dataloader.dataset"


def data_findings(train_set, val_set, model: nn.Module) -> Iterator[Finding]:
    """What is wrong with the annotations; no image is read.

    Args:
        train_set: A data set of mmdet or mmyolo, or a wrapper around some. What cannot
            list its annotations is passed by.
        val_set: The same for validation, or None.
        model: Its heads say how many classes there are.

    Yields:
        The findings.
    """
    parts = list(_parts(train_set, TRAIN))
    yield from _check_categories(parts, list(_parts(val_set, VAL)))
    annotations = [(place, Annotations.of(part)) for place, part in parts]
    annotations = [(place, of_part) for place, of_part in annotations if of_part]
    heads = list(_classifying_heads(model))
    for place, of_part in annotations:
        yield from _check_boxes(place, of_part)
        for head, num_classes in heads:
            yield from _check_labels(place, of_part, head, num_classes)
    for place, part in parts:
        classes = part.metainfo.get("classes") or ()
        if isinstance(classes, str):
            yield Finding(
                f"{place}.metainfo.classes",
                f"{classes!r} is a text, its letters would be the classes: write "
                f"({classes!r},), with a comma",
            )
            continue
        # Of panoptic data a box head sees the things alone
        given = len(part.metainfo.get("thing_classes") or classes)
        for head, num_classes in heads:
            if given and given != num_classes:
                is_error = given > num_classes
                ends = "; a detection of another class ends a validation (IndexError)"
                yield Finding(
                    f"{head}.num_classes",
                    f"{num_classes}, and {place} has {given} classes: set it to "
                    f"{given}, or metainfo.classes to what the head has"
                    f"{'' if is_error else ends}",
                    is_error,
                )
    if annotations and not any(of_part.trains.any() for _, of_part in annotations):
        yield Finding(
            TRAIN,
            f"{sum(len(part) for _, part in parts)} images and no box to train on. "
            "Check ann_file, and that the names in metainfo.classes are those of the "
            "annotations",
        )


class Annotations(NamedTuple):
    """The G boxes of a data set."""

    boxes: np.ndarray  # xyxy in px, (G, 4)
    labels: np.ndarray  # (G,)
    trains: np.ndarray  # False where a box is ignored, (G,)
    image: np.ndarray  # (G,)
    dataset: object

    @classmethod
    def of(cls, dataset) -> "Annotations | None":
        """Read them from a data set that can list them; None of one without boxes."""
        # Flat lists of numbers: what is kept of a million boxes, Python's garbage
        # collector would look at again and again.
        sides, labels, trains, per_image = [], [], [], []
        lists_boxes = False
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            lists_boxes = lists_boxes or "instances" in info
            instances = info.get("instances") or []
            per_image.append(len(instances))
            for instance in instances:
                sides.extend(instance["bbox"])
                labels.append(instance["bbox_label"])
                trains.append(not instance.get("ignore_flag", 0))
        if not lists_boxes:
            return None
        return cls(
            np.array(sides, dtype=np.float64).reshape(len(labels), -1 if labels else 4),
            np.array(labels, dtype=np.int64),
            np.array(trains, dtype=bool),
            np.repeat(np.arange(len(per_image)), per_image),
            dataset,
        )

    def name_of_image(self, box: int) -> str:
        """The file of the image that a box is on."""
        info = self.dataset.get_data_info(int(self.image[box]))
        return str(info.get("img_path", f"image {self.image[box]}"))


def _check_boxes(place: str, annotations: Annotations) -> Iterator[Finding]:
    # not <=: nan is no number of pixels either
    is_wild = ~(np.abs(annotations.boxes) <= MAX_COORDINATE).all(-1)
    if is_wild.any():
        first = int(is_wild.argmax())
        yield Finding(
            place,
            f"{is_wild.sum()} of {len(is_wild)} boxes lie beyond {MAX_COORDINATE:g} px "
            f"or are no numbers, the first {annotations.boxes[first].tolist()} in "
            f"{annotations.name_of_image(first)}: mend the annotations",
        )


def _check_labels(
    place: str, annotations: Annotations, head: str, num_classes: int
) -> Iterator[Finding]:
    labels = annotations.labels
    is_wrong = annotations.trains & ((labels < 0) | (labels >= num_classes))
    if is_wrong.any():
        first = int(is_wrong.argmax())
        yield Finding(
            place,
            f"{is_wrong.sum()} of {len(is_wrong)} boxes have a label outside "
            f"0...{num_classes - 1}, the first {labels[first]} in "
            f"{annotations.name_of_image(first)}. {head}.num_classes is {num_classes}: "
            "is it the number of classes of the data?",
        )


def _check_categories(
    train_sets: Sequence[tuple[str, object]], val_sets: Sequence[tuple[str, object]]
) -> Iterator[Finding]:
    """Labels count the categories of an annotation file, in the order of the file."""
    train_names = [(place, _names(part)) for place, part in train_sets]
    if not train_names:
        return
    first, expected = train_names[0]
    for place, names in train_names[1:] + [(p, _names(d)) for p, d in val_sets]:
        if names != expected:
            yield Finding(
                f"{place}.ann_file",
                f"it has other classes than {first}.ann_file: "
                f"{_difference(names, expected)}. Write the same `categories`, in "
                "the same order, into both",
            )
    classes = train_sets[0][1].metainfo.get("classes") or ()
    if isinstance(classes, str):
        return  # a finding of its own
    classes = list(classes)
    if classes and expected != classes:
        yield Finding(
            f"{first}.metainfo.classes",
            f"the annotations have {_difference(expected, classes)}: give the names in "
            "the order of the file, or results and class weights go under wrong names",
            is_error=False,
        )


def _names(dataset) -> list[str]:
    """The names of the classes by label, as the annotations have them."""
    classes = list(dataset.metainfo.get("classes") or ())
    path = Path(str(getattr(dataset, "ann_file", "")))
    if not hasattr(dataset, "cat_ids") or not path.is_file():
        return classes
    names = {entry["id"]: entry["name"] for entry in read_categories(path)}
    return [names[i] for i in dataset.cat_ids if i in names]


def _difference(names: Sequence[str], expected: Sequence[str]) -> str:
    """Where two lists part, in words."""
    pairs = enumerate(zip_longest(names, expected))
    label, (own, other) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
    return (
        f"{len(names)} of {len(expected)} with {own!r} and not {other!r} as label "
        f"{label}"
    )


def _parts(dataset, place: str) -> Iterator[tuple[str, object]]:
    """The data sets within wrappers, that can list their annotations."""
    if hasattr(dataset, "datasets"):
        for index, part in enumerate(dataset.datasets):
            yield from _parts(part, f"{place}.datasets.{index}")
    elif hasattr(dataset, "dataset"):
        yield from _parts(dataset.dataset, f"{place}.dataset")
    elif hasattr(dataset, "get_data_info") and hasattr(dataset, "metainfo"):
        dataset.full_init()
        yield place, dataset


def _classifying_heads(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Where a head tells classes apart, and how many. An RPN does not."""
    for name, module in model.named_modules():
        has_classes = isinstance(getattr(module, "num_classes", None), int)
        is_rpn = isinstance(module, RPNHead) or name.rpartition(".")[2] == "rpn_head"
        of_text = hasattr(module, "max_text_len")  # num_classes is a number of tokens
        if has_classes and hasattr(module, "loss_cls") and not (is_rpn or of_text):
            yield f"model.{name}", module.num_classes
