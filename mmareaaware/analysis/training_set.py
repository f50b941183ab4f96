"""The boxes of a training, as its config's own pipeline hands them to the network."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, DATASETS, DefaultScope
from mmengine.runner import set_random_seed
from torch import Tensor

from ..config_file import ConfigFileError, read_config
from ..models.box_areas import box_areas


class TrainingSetError(Exception):
    """A training set cannot be read; the message names what is missing."""


class TrainingBoxes(NamedTuple):
    """G boxes on M images of a training, in px of the network input."""

    boxes: Tensor  # (G, 4), xyxy
    labels: Tensor  # (G,)
    image: Tensor  # (G,), which of the M images
    input_sizes: Tensor  # (M, 2), height and width
    classes: tuple[str, ...]

    @property
    def areas(self) -> Tensor:
        """(G,), in px²."""
        return box_areas(self.boxes)

    @property
    def is_cut(self) -> Tensor:
        """Which boxes (G,) reach the edge of the input: the object may go on there."""
        size = self.input_sizes[self.image].flip(1)  # (G, 2), width and height
        low, high = self.boxes.chunk(2, 1)
        return (low < 1).any(1) | (high > size - 1).any(1)


def open_config(path: str | Path, options: Mapping | None = None) -> Config:
    """Load a config that trains a detector.

    Args:
        path: The file.
        options: What ``--cfg-options`` gave.

    Returns:
        The config.

    Raises:
        TrainingSetError: See ``mmareaaware.config_file.read_config``; or it has no
            model, or no training set.
    """
    try:
        cfg = read_config(path, options)
    except ConfigFileError as error:
        raise TrainingSetError(str(error)) from error
    loader = cfg.get("train_dataloader") or {}
    needed = {
        "model": cfg.get("model"),
        "train_dataloader": loader,
        "train_dataloader.dataset": loader.get("dataset"),
        "train_dataloader.sampler": loader.get("sampler"),
    }
    for key, value in needed.items():
        if not value:
            raise TrainingSetError(
                f"{path} has no {key}: give the config of a training"
            )
    return cfg


def build_training_set(cfg: Config):
    """Build the data set of ``train_dataloader``, wrappers and pipeline included.

    Args:
        cfg: From ``open_config``.

    Returns:
        The data set.

    Raises:
        TrainingSetError: The annotations are not there, or no image is left.
    """
    empty = TrainingSetError(
        "the training set has no image. Check `ann_file` and `filter_cfg` of "
        "train_dataloader.dataset, and that the names in `metainfo.classes` are those "
        "of the annotations"
    )
    try:
        with default_scope(cfg), _missing_file(_SET.format("data_root and ann_file")):
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
    except ValueError as error:
        # All that MMEngine says when it packs a list of no images.
        if "need at least one array to concatenate" in str(error):
            raise empty from error
        raise
    if not len(dataset):
        raise empty
    return dataset


def labelled_view(item: Mapping) -> Mapping | None:
    """What a semi-supervised training learns from of a labelled image.

    Args:
        item: What the pipeline packed, in branches or not.

    Returns:
        The branch ``sup``; None if it is empty, so of an unlabelled image. Without
        branches the item itself.
    """
    views = item.get("inputs")
    if not isinstance(views, Mapping):
        return item
    if views.get("sup") is None:
        return None
    return {key: value["sup"] for key, value in item.items()}


def boxes_and_labels(item: Mapping) -> tuple[Tensor, Tensor]:
    """The boxes that one item of a training set trains on, ignored ones left out.

    Args:
        item: What the pipeline packed.

    Returns:
        Boxes xyxy in px (G, 4), and labels (G,).

    Raises:
        TrainingSetError: It holds no ground truth, or not horizontal boxes.
    """
    instances = getattr(item.get("data_samples"), "gt_instances", None)
    if instances is None or "bboxes" not in instances:
        raise TrainingSetError(
            "the pipeline packs no boxes. train_dataloader.dataset.pipeline needs "
            "LoadAnnotations with with_bbox=True and, at its end, PackDetInputs "
            "(of one view, not of several branches)"
        )
    boxes = get_box_tensor(instances.bboxes)
    if boxes.size(-1) != 4:
        raise TrainingSetError(
            f"boxes must be horizontal, (G, 4), got {tuple(boxes.shape)}"
        )
    return boxes, instances.labels


def read_training_boxes(
    cfg: Config,
    num_images: int = 500,
    seed: int = 0,
    progress: Callable[[Iterable, str], Iterable] = lambda items, title: items,
) -> TrainingBoxes:
    """Read what the first images of a training hold.

    The images are those that the config's sampler gives first, each through the
    config's pipeline. What happens to a batch later is not seen: see
    ``what_is_not_seen``.

    Args:
        cfg: From ``open_config``.
        num_images: Read at most so many, at least 1.
        seed: Of sampler and augmentation.
        progress: Wraps the images, to show progress.

    Returns:
        The boxes.

    Raises:
        TrainingSetError: Annotations or images are not there, or there is no box.
    """
    dataset = build_training_set(cfg)
    boxes, labels, sizes = [], [], []
    set_random_seed(seed)
    with default_scope(cfg), _missing_file(_SET.format("data_root and data_prefix")):
        for index in progress(_indices(cfg, dataset, num_images, seed), "images"):
            item = labelled_view(dataset[index])
            if item is None:
                continue
            image_boxes, image_labels = boxes_and_labels(item)
            boxes.append(image_boxes)
            labels.append(image_labels)
            sizes.append(tuple(item["inputs"].shape[-2:]))
    if not sizes:
        raise TrainingSetError(
            f"none of the {num_images} images that were read is labelled: read more, "
            "--images"
        )
    per_image = torch.tensor([len(image_boxes) for image_boxes in boxes])
    if not per_image.any():
        raise TrainingSetError(
            f"{len(sizes)} images of the training set, and no box. Check `ann_file` "
            "of train_dataloader.dataset, and that the names in `metainfo.classes` are "
            "those of the annotations"
        )
    metainfo = dataset.metainfo
    if not isinstance(metainfo, Mapping):  # of unlike data sets, one each
        metainfo = metainfo[0]
    return TrainingBoxes(
        torch.cat(boxes).float(),
        torch.cat(labels),
        torch.arange(len(sizes)).repeat_interleave(per_image),
        torch.tensor(sizes),
        tuple(metainfo.get("classes", ())),
    )


def what_is_not_seen(cfg: Config) -> list[str]:
    """What a training does to its boxes beyond the pipeline of its first epoch.

    Args:
        cfg: Any config.

    Returns:
        A sentence for each thing.
    """
    notes = []
    preprocessor = cfg.model.get("data_preprocessor") or {}
    for augment in map(_type_name, preprocessor.get("batch_augments") or []):
        notes.append(
            f"{augment} of model.data_preprocessor.batch_augments changes whole "
            "batches after the pipeline"
        )
    for hook in map(_type_name, cfg.get("custom_hooks") or []):
        if hook.endswith(("PipelineSwitchHook", "ModeSwitchHook")):
            notes.append(f"{hook} changes the pipeline in later epochs")
    return notes


def _type_name(module: dict) -> str:
    """Of a config's module; in MMEngine's lazy configs types are classes."""
    return getattr(module["type"], "__name__", module["type"])


def default_scope(cfg: Config):
    """The context in which a config's types are found, as in the Runner."""
    return DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine"))


_SET = "Set {} of train_dataloader.dataset"


@contextmanager
def _missing_file(hint: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        missing = f"{error.filename} does not exist" if error.filename else str(error)
        raise TrainingSetError(f"{missing}. {hint}") from error


def _indices(cfg: Config, dataset, num_images: int, seed: int) -> list[int]:
    sampler = DATA_SAMPLERS.build(
        cfg.train_dataloader.sampler, default_args=dict(dataset=dataset, seed=seed)
    )
    return list(islice(sampler, min(num_images, len(dataset))))
