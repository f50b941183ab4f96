"""Reads a file of ``torch.save``, and finds the weights, without running code from it.

Even a whole pickled ``torch.nn.Module`` gives up its weights, since it keeps them in
plain dicts.
"""

import struct
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from .inert_pickle import Interpreter, Placeholder
from .torch_archive import TorchArchive, TorchFileError, open_zip

MAX_ENTRIES = 200_000
MAX_NAME = 500


def read_torch_file(path: str | Path) -> Any:
    """What ``torch.save`` put into a file, without code of the file running.

    Args:
        path: The file, in the format of torch 1.6 or newer.

    Returns:
        The content, as ``Interpreter.run`` returns it. Tensors that shared their
        memory when they were saved share it again.

    Raises:
        TorchFileError: The file is no such file, is damaged, or asks for what no file
            of ``torch.save`` needs.
        OSError: The file cannot be read.
    """
    with open_zip(path) as file:
        try:
            archive = TorchArchive(file, path)
            return Interpreter(archive.tensor).run(archive.pickle())
        except TorchFileError as error:
            raise TorchFileError(f"{path}: {error}") from error
        except (BadZipFile, ValueError, RuntimeError, EOFError, struct.error) as error:
            raise TorchFileError(f"{path} is damaged: {error}") from error


def find_state_dict(content: Any, path: str | Path) -> dict[str, Tensor]:
    """The weights in the content of a checkpoint.

    Args:
        content: From ``read_torch_file`` or ``torch.load``: a state dict, a model,
            or a dict with either under ``ema``, ``model`` or ``state_dict``. Of these
            keys the first counts whose value is not None.
        path: The file, for messages.

    Returns:
        Names to tensors, as of ``Module.state_dict``.

    Raises:
        TorchFileError: There is no model in it.
    """
    if isinstance(content, dict):
        for name in ("ema", "model", "state_dict"):
            if content.get(name) is not None:
                content = content[name]
                break
    if isinstance(content, Placeholder):
        try:
            content = _state_dict_of(content)
        except TorchFileError as error:
            raise TorchFileError(f"{path}: {error}") from error
    elif isinstance(content, torch.nn.Module):
        content = content.state_dict()
    is_state = isinstance(content, dict) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    )
    if not is_state or not content:
        raise TorchFileError(
            f"no model in {path}: neither ema, model, state_dict nor tensors"
        )
    return dict(content)


def _state_dict_of(model: Placeholder) -> dict[str, Tensor]:
    """What ``Module.state_dict`` would return for a pickled module."""
    state: dict[str, Tensor] = {}
    todo, seen = [("", model)], 0
    while todo:
        prefix, module = todo.pop()
        parameters, buffers, children = (
            _part(module, name) for name in ("parameters", "buffers", "modules")
        )
        unsaved = module.state.get("_non_persistent_buffers_set")
        unsaved = unsaved if isinstance(unsaved, list) else []
        # A module that holds itself, or another twice and so on, would fill the memory.
        seen += 1 + sum(map(len, (parameters, buffers, children, unsaved)))
        if seen > MAX_ENTRIES:
            raise TorchFileError("no network has so many modules")
        names = (*parameters, *buffers, *children)
        if len(prefix) + max(map(len, names), default=0) > MAX_NAME:
            raise TorchFileError("no network has so long names")
        skipped = {name for name in unsaved if isinstance(name, str)}
        kept = {k: v for k, v in buffers.items() if k not in skipped}
        for name, value in (parameters | kept).items():
            if value is not None:
                state[f"{prefix}{name}"] = value
        todo += [
            (f"{prefix}{name}.", child)
            for name, child in reversed(children.items())
            if child is not None
        ]
    return state


def _part(module: Any, name: str) -> dict:
    """The parameters, buffers or modules that a module holds itself, by name."""
    part = module.state.get(f"_{name}") if isinstance(module, Placeholder) else None
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        name = getattr(module, "origin", type(module).__name__)
        raise TorchFileError(f"{name} stands where a torch.nn.Module is expected")
    return part
