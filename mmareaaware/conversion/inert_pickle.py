"""Reads a pickle without running the code that it names.

A pickle is a program for a small stack machine, which may call whatever Python can
import. The machine here has the same instructions and calls nothing: it builds
containers, numbers, texts and tensors, and where the program asks for an object of any
class, or the result of any function, there is an inert ``Placeholder``.
"""

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .torch_archive import Storage, TorchFileError

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
# Far more than a checkpoint of YOLO11-x with its optimiser has (about 10⁵)
MAX_INSTRUCTIONS = 2_000_000
SCALARS = (str, bytes, int, float, bool, type(None))
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


class Interpreter:
    """The stack machine.

    Args:
        tensor: Makes a tensor of a storage, the offset in it, size and stride, as
            ``TorchArchive.tensor`` does.
    """

    def __init__(self, tensor: Callable[[Storage, int, tuple, tuple], Tensor]) -> None:
        self.tensor = tensor
        self.stack: list = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """Follow the instructions up to STOP.

        Returns:
            What they leave: dicts, lists, tuples, numbers, texts and tensors as they
            are, but no entry of a dict whose key is neither number nor text; sets as
            lists; any other object as a ``Placeholder``.

        Raises:
            TorchFileError: The program is damaged, or does what no pickler writes.
        """
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
        items = self._since_mark() if name in MARKED else []
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
                return self.tensor(_of(Storage, storage), offset, size, stride)
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
