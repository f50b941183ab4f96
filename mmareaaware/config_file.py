"""Reads the config of a run, with ``--cfg-options``, for the tools."""

import inspect
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hub import get_config
from mmengine.runner import Runner

from .model_config import type_name

# What else MMEngine, MMDetection and their tools take from the top of a config
READ_ELSEWHERE = {
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "runner_type",
    "strategy",
    "sync_bn",
    "tta_model",
    "tta_pipeline",
}

MAX_PLACES = 4


class ConfigFileError(ValueError):
    """A config cannot be used; the message names the fix."""


def read_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config and put options into it.

    Args:
        path: The file; or one of another package, ``mmyolo::yolov8/....py``.
        options: What ``--cfg-options`` gave.

    Returns:
        The config.

    Raises:
        ConfigFileError: The file, or one that it reads, or its package does not exist;
            or an option sets a variable of the file, which has no effect any more.
    """
    package, separator, _ = str(path).partition("::")
    if separator and not find_spec(package):  # MMEngine would install it
        raise ConfigFileError(f"{path}: the package {package} is not installed")
    try:
        cfg = get_config(str(path)) if separator else Config.fromfile(path)
    except FileNotFoundError as error:
        raise ConfigFileError(missing_in_words(error)) from error
    for key in options or {}:
        _refuse_variable(cfg, key)
    cfg.merge_from_dict(dict(options or {}))
    return cfg


def missing_in_words(error: FileNotFoundError) -> str:
    """What a config asked for that is not there, and the fix."""
    missing = f"{error.filename} does not exist" if error.filename else str(error)
    return (
        f"{missing}. If the config reads it, set where from (configs/coco_folder: "
        "the environment variable DATA_ROOT)"
    )


def check_annotations(cfg: Mapping, *parts: str) -> None:
    """See that the files exist that data sets and metrics read.

    Args:
        cfg: The config.
        parts: Where to look, ``"train_dataloader"`` for one.

    Raises:
        ConfigFileError: One does not.
    """
    for place, node in _leaves(cfg, set(parts)):
        if not isinstance(node, Mapping) or node.get("backend_args"):
            continue
        given, root = node.get("ann_file"), node.get("data_root")
        if not isinstance(given, str) or not given or "://" in f"{root}{given}":
            continue
        path = Path(root or "", given)
        if not path.exists():
            raise ConfigFileError(
                f"{place}.ann_file={given!r}: {path} does not exist"
                f"{f', with data_root={root!r}' if root else ''}"
            )


def check_start(cfg: Mapping) -> None:
    """See that what a training needs is here: its checkpoint, annotations, a GPU.

    Args:
        cfg: The config.

    Raises:
        ConfigFileError: Something is not.
    """
    wrapper = type_name(cfg.get("optim_wrapper") or {})
    if wrapper == "AmpOptimWrapper" and get_device() == "cpu":
        raise ConfigFileError(
            f"optim_wrapper.type={wrapper!r} (--amp sets it) needs a GPU, and there is "
            "none here: leave --amp out, or have OptimWrapper or BFloat16OptimWrapper "
            "in the config"
        )
    check_annotations(cfg, "train_dataloader", "val_dataloader", "val_evaluator")
    start = cfg.get("load_from")
    if start is not None and "://" not in str(start) and not Path(start).is_file():
        raise ConfigFileError(
            f"load_from={str(start)!r} does not exist. The recipes read it from the "
            "environment: CHECKPOINT, and CHECKPOINT_P2 for what "
            "tools/model_converters/add_p2_level.py makes of it"
        )


def _refuse_variable(cfg: Config, key: str) -> None:
    """A variable of the file was used when the file was read."""
    name = key.split(".")[0]
    read = {*inspect.signature(Runner.__init__).parameters, *READ_ELSEWHERE}
    if name in read or name not in cfg:
        return
    value = cfg[name]
    places = [place for place, found in _leaves(cfg, read) if found == value]
    # Many places have the same number or truth value: those of the same name are meant.
    named = [place for place in places if place.rpartition(".")[2] == name]
    places = named or (places if len(places) <= MAX_PLACES else [])
    where = (
        f"Set {', '.join(places[:MAX_PLACES])}" if places else "Set what it went into"
    )
    raise ConfigFileError(
        f"--cfg-options {key}=... has no effect: {name} is a variable of the config "
        f"file, and was used when the file was read. {where}, or change the file"
    )


def _leaves(node: Any, keys: set[str] | None = None, path: str = "") -> Iterator[tuple]:
    """Dotted paths, and what is there, of all that a config holds."""
    if isinstance(node, Mapping | Config):
        items = [(k, v) for k, v in node.items() if keys is None or k in keys]
    elif isinstance(node, list):
        items = list(enumerate(node))
    else:
        return
    for key, value in items:
        yield f"{path}{key}", value
        yield from _leaves(value, path=f"{path}{key}.")
