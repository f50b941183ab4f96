"""Reads the tensors in a file of ``torch.save`` without running code from it.

A pickle is a program for a small stack machine, which may call whatever Python can
import. The machine here has the same instructions and calls nothing: it builds
containers, numbers, texts and tensors, and where the program asks for an object of any
class, or the result of any function, there is an inert :class:`Placeholder`. That is
enough, since a pickled ``torch.nn.Module`` keeps its weights in plain dicts.

The memory needed is of the order of the file's size, whatever the file says.
"""

import math
import pickletools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
SCALARS = (str, bytes, int, float, bool, type(None))
# Far more than a checkpoint of YOLO11-x with its optimiser has (about 10⁵)
MAX_INSTRUCTIONS = 2_000_000
MAX_PICKLE_BYTES = 2**25
MAX_DIMS = 8
MAX_ENTRIES = 200_000
MAX_NAME = 500


class TorchFileError(ValueError):
    """A file is not of ``torch.save``, is damaged, or asks for what is refused."""


class Global(NamedTuple):
    """The name of a class or function, which is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Placeholder:
    """Where an object of a class, or the result of a function, would be.

    Args:
        origin: Name of the class or function.
        state: What the object would get as its attributes.
    """

    origin: Global
    state: dict = field(default_factory=dict)


class Storage(NamedTuple):
    """Numbers in the file."""

    key: str
    dtype: torch.dtype
    numel: int


def read_torch_file(path: str | Path) -> Any:
    """What ``torch.save`` put into a file, without code of the file running.

    Args:
        path: The file, in the format of torch 1.6 or newer.

    Returns:
        The content: dicts, lists, tuples, numbers, texts and tensors as they are, sets
        as lists, any other object as a :class:`Placeholder`. The tensors share the
        storages of the file.

    Raises:
        TorchFileError: The file is no such file, is damaged, or asks for what no file
            of ``torch.save`` needs.
        OSError: The file cannot be read.
    """
    with _open_zip(path) as archive:
        try:
            return _Interpreter(_Storages(archive, path)).run(_pickle_of(archive))
        except TorchFileError as error:
            raise TorchFileError(f"{path}: {error}") from error
        except (BadZipFile, ValueError, RuntimeError, EOFError, struct.error) as error:
            raise TorchFileError(f"{path} is damaged: {error}") from error


def find_state_dict(content: Any, path: str | Path) -> dict[str, Tensor]:
    """The weights in the content of a checkpoint.

    Args:
        content: From :func:`read_torch_file`, or from ``torch.load``: a state dict; a
            model; or a dict with one of them under ``ema``, ``model`` or
            ``state_dict``, the first that there is.
        path: Of the file, for messages.

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


def _open_zip(path: str | Path) -> ZipFile:
    try:
        return ZipFile(path)
    except (BadZipFile, ValueError, RuntimeError, struct.error) as error:
        with open(path, "rb") as file:
            start = file.read(4)
        if start[:2] == b"PK":
            text = "is cut off or damaged: load it where it comes from, once more"
        elif not start:
            text = "is empty"
        elif start[:1] == b"\x80":
            text = (
                "is a file of torch older than 1.6, or a bare pickle: load it with "
                "torch and write it with `torch.save(model.state_dict(), path)`"
            )
        else:
            text = "is no file of torch.save"
        raise TorchFileError(f"{path} {text}") from error


def _pickle_of(archive: ZipFile) -> bytes:
    return _read(archive, f"{_root(archive)}/data.pkl", MAX_PICKLE_BYTES)


def _root(archive: ZipFile) -> str:
    """The folder that all is in."""
    roots = [n.split("/")[0] for n in archive.namelist() if n.endswith("/data.pkl")]
    if len(roots) != 1:
        raise TorchFileError("a zip file, and none of torch.save")
    return roots[0]


def _read(archive: ZipFile, name: str, at_most: int) -> bytes:
    """An entry, which must not be compressed: a small file must not become a big one.

    Raises:
        TorchFileError: It is not there, compressed, or larger.
    """
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise TorchFileError(f"the entry {name} is missing") from None
    if entry.compress_type != ZIP_STORED or entry.file_size != entry.compress_size:
        raise TorchFileError(f"the entry {name} is compressed")
    if entry.flag_bits & 1:
        raise TorchFileError(f"the entry {name} is encrypted")
    if entry.file_size > at_most:
        raise TorchFileError(
            f"the entry {name} has {entry.file_size} bytes, more than {at_most}"
        )
    data = archive.read(entry)
    if len(data) != entry.file_size:
        raise TorchFileError(f"the entry {name} is cut off")
    return data


class _Storages:
    """The numbers of a file, read when a tensor needs them.

    Args:
        archive: The open file.
        path: Its path.
    """

    def __init__(self, archive: ZipFile, path: str | Path) -> None:
        self.archive = archive
        self.root = _root(archive)
        self.left = Path(path).stat().st_size  # entries may not share bytes
        self.read: dict[Storage, Tensor] = {}
        if f"{self.root}/byteorder" in archive.NameToInfo:
            order = _read(archive, f"{self.root}/byteorder", 16)
            if order != b"little":
                raise TorchFileError(f"byte order {order!r} is not supported")

    def tensor(self, storage: Storage, offset: int, size: tuple, stride: tuple):
        """A view of a storage.

        Raises:
            TorchFileError: The storage has other, or not so many, numbers.
        """
        numbers = (offset, *size, *stride)
        if not len(size) == len(stride) <= MAX_DIMS or not all(
            type(n) is int and 0 <= n < 2**48 for n in numbers
        ):
            raise TorchFileError("a tensor of no size")
        numel = math.prod(size)
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if numel == 0:
            return torch.empty(size, dtype=storage.dtype)
        if max(numel - 1, last) >= storage.numel:  # a stride of 0 makes much of little
            raise TorchFileError(
                f"a tensor of {size=}, {stride=} and {offset=} of {storage.numel} "
                "numbers"
            )
        return self._numbers(storage).as_strided(size, stride, offset)

    def _numbers(self, storage: Storage) -> Tensor:
        if storage not in self.read:
            name = f"{self.root}/data/{storage.key}"
            data = _read(self.archive, name, self.left)
            self.left -= len(data)
            if len(data) != storage.numel * storage.dtype.itemsize:
                raise TorchFileError(
                    f"{name} has {len(data)} bytes, not {storage.numel} numbers of "
                    f"{storage.dtype}"
                )
            if storage.dtype == torch.bool and data.strip(b"\0\1"):
                raise TorchFileError(f"{name} has more than truth values")
            self.read[storage] = (
                torch.frombuffer(bytearray(data), dtype=storage.dtype)
                if data
                else torch.empty(0, dtype=storage.dtype)
            )
        return self.read[storage]


MARK = object()
MARKED = ("APPENDS", "SETITEMS", "ADDITEMS", "TUPLE", "LIST", "DICT", "FROZENSET")
LITERALS = {
    *("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2"),
    *("FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class _Interpreter:
    """The stack machine.

    Args:
        storages: Where tensors get their numbers.
    """

    def __init__(self, storages: _Storages) -> None:
        self.storages = storages
        self.stack: list = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """Follow the instructions up to STOP; what they leave."""
        for number, (name, argument) in enumerate(_instructions(program)):
            if number == MAX_INSTRUCTIONS:
                raise TorchFileError(f"more than {number} instructions")
            try:
                self._step(name, argument)
            except TorchFileError:
                raise
            except (LookupError, TypeError, ValueError, RuntimeError) as error:
                raise TorchFileError(f"{name} makes no sense there") from error
        if len(self.stack) != 1 or self.stack[0] is MARK:
            raise TorchFileError("the pickle leaves nothing, or too much")
        return self.stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        items = self._since_mark() if name in MARKED else ()
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _ if name in LITERALS:
                stack.append(argument)
            case _ if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case "MARK":
                stack.append(MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "LIST" | "FROZENSET":
                stack.append(items)
            case "TUPLE":
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "DICT":
                stack.append({})
                self._set_items(items)
            case "APPEND":
                self._append([stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self._append(items)
            case "SETITEM":
                self._set_items([stack.pop(-2), stack.pop()])
            case "SETITEMS":
                self._set_items(items)
            case "GLOBAL":
                stack.append(Global(*argument.split(" ")))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(Global(_of(str, module), _of(str, name)))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._result(_of(Global, function), arguments))
            case "NEWOBJ":
                _, owner = stack.pop(), stack.pop()
                stack.append(Placeholder(_of(Global, owner)))
            case "NEWOBJ_EX":
                _, _, owner = stack.pop(), stack.pop(), stack.pop()
                stack.append(Placeholder(_of(Global, owner)))
            case "BUILD":
                self._build(stack.pop())
            case _:
                raise TorchFileError(f"the instruction {name} is refused")

    def _since_mark(self) -> list:
        items = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def _append(self, items: list) -> None:
        _of(list, self.stack[-1]).extend(items)

    def _set_items(self, items: list) -> None:
        target = _of(dict, self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Of other keys even the hash may take forever; no weight has such a name.
            if isinstance(key, SCALARS):
                target[key] = value

    def _result(self, function: Global, arguments: tuple) -> Any:
        """What a function that the pickle calls would return."""
        match str(function), arguments:
            case "torch._utils._rebuild_tensor_v2", (storage, offset, size, stride, *_):
                return self.storages.tensor(_of(Storage, storage), offset, size, stride)
            case (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state",
                (data, *_),
            ):
                return _of(Tensor, data)
            case "collections.OrderedDict", ():
                return {}
            case "builtins.set" | "__builtin__.set", (list() as items,):
                return items
        return Placeholder(function)

    def _build(self, state: Any) -> None:
        target = self.stack[-1]
        if isinstance(state, tuple) and state:
            state = state[0]  # of attributes and slots
        if isinstance(target, Placeholder) and isinstance(state, dict):
            target.state = state


def _instructions(program: bytes) -> Iterator[tuple[str, Any]]:
    try:
        for code, argument, _ in pickletools.genops(program):
            yield code.name, argument
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise TorchFileError(f"the pickle is damaged: {error}") from error


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TorchFileError(f"{kind.__name__} expected, got {type(value).__name__}")
    return value


def _storage(identity: Any) -> Storage:
    """What a persistent identity stands for: torch knows nothing but storages."""
    match identity:
        case ("storage", Global("torch", name), str(key), _, int(numel)) if (
            name in DTYPES and numel >= 0
        ):
            return Storage(key, DTYPES[name], numel)
    raise TorchFileError("a persistent object that is no storage of torch")


def _state_dict_of(model: Placeholder) -> dict[str, Tensor]:
    """What ``Module.state_dict`` returns."""
    state: dict[str, Tensor] = {}
    todo, seen = [("", model)], 0
    while todo:
        prefix, module = todo.pop()
        parameters, buffers, children = (
            _part(module, name) for name in ("parameters", "buffers", "modules")
        )
        passing = module.state.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, list) else []
        # A module that holds itself twice, or a long name, would fill the memory.
        seen += 1 + sum(map(len, (parameters, buffers, children, passing)))
        names = (*parameters, *buffers, *children)
        if (
            seen > MAX_ENTRIES
            or len(prefix) + max(map(len, names), default=0) > MAX_NAME
        ):
            raise TorchFileError("no network has so many modules, or so long names")
        skipped = {name for name in passing if isinstance(name, str)}
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
    part = module.state.get(f"_{name}") if isinstance(module, Placeholder) else None
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        name = getattr(module, "origin", type(module).__name__)
        raise TorchFileError(f"{name} stands where a torch.nn.Module is expected")
    return part
