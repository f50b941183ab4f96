"""Copies of small objects, where a training loads its annotations."""

from collections.abc import Mapping

from mmengine.config import ConfigDict

from ..model_config import parts, type_name
from .errors import SwitchError

COPY_PASTE = "SmallObjectCopyPaste"
LOADER = "LoadAnnotations"
NOT_COPIED = ("with_seg", "with_keypoints")


def with_copies(cfg: Mapping, settings: Mapping) -> dict:
    """The parts of a config that load annotations to train on, with copies behind.

    Args:
        cfg: With a ``train_dataloader`` and, where a hook changes the pipeline later,
            ``custom_hooks``; stays as it is.
        settings: Config of the transform.

    Returns:
        These two, as far as they are there.

    Raises:
        SwitchError: Nothing loads annotations, what is loaded cannot be copied, or
            copies are there already.
    """
    keys = [key for key in ("train_dataloader", "custom_hooks") if cfg.get(key)]
    found = {key: cfg[key] for key in keys}
    dicts = [part for key in keys for part in parts(found[key], key)]
    loaders = [part for part in dicts if part.name == LOADER]
    if not any(part.place.startswith("train_dataloader.") for part in loaders):
        raise SwitchError(
            f"the pipeline of train_dataloader has no {LOADER}, behind which small "
            "objects would be copied: leave copy_paste out"
        )
    for part in dicts:
        if part.name == COPY_PASTE:
            raise SwitchError(
                f"{part.place} is a {COPY_PASTE} already: leave copy_paste out"
            )
    for part in loaders:
        asked = [key for key in NOT_COPIED if part.cfg.get(key)]
        if part.cfg.get("box_type", "hbox") not in ("hbox", None):
            asked.append("box_type")
        if asked:
            raise SwitchError(
                f"{part.place} has {asked[0]}={part.cfg[asked[0]]!r}, which "
                f"{COPY_PASTE} does not copy: leave copy_paste out"
            )
    return {key: _behind_loaders(value, settings) for key, value in found.items()}


def _behind_loaders(value, settings: Mapping):
    """The same with copies, in all the lists that have a loader."""
    if isinstance(value, Mapping):
        pairs = {k: _behind_loaders(v, settings) for k, v in value.items()}
        return type(value)(pairs)
    if not isinstance(value, list | tuple):
        return value
    items = []
    for item in value:
        items.append(_behind_loaders(item, settings))
        if isinstance(item, Mapping) and type_name(item) == LOADER:
            items.append(ConfigDict(settings))
    return type(value)(items)
