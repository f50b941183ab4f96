"""The container that ``torch.save`` writes: a zip file of a pickle and of storages.

A storage is the memory of one tensor, or of several that are views of it. The pickle
says where in which storage a tensor is; all that it says is checked, so that the memory
needed is of the order of the file's size, whatever the file says.
"""

import math
import struct
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

MAX_PICKLE_BYTES = 2**25
MAX_DIMS = 8


class TorchFileError(ValueError):
    """A file is not of ``torch.save``, is damaged, or asks for what is refused."""


class Storage(NamedTuple):
    """What the pickle says of a storage.

    Args:
        key: Name of its entry in the zip file.
        dtype: Type of its numbers.
        numel: How many they are.
    """

    key: str
    dtype: torch.dtype
    numel: int


def open_zip(path: str | Path) -> ZipFile:
    """Open a file of ``torch.save`` as the zip file that it is.

    Raises:
        TorchFileError: It is no zip file; the message says what it seems to be.
        OSError: The file cannot be read.
    """
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
                "is of torch older than 1.6, or a bare pickle: where it comes from, "
                "write it anew with `torch.save(model.state_dict(), path)`"
            )
        else:
            text = "is no file of torch.save"
        raise TorchFileError(f"{path} {text}") from error


class TorchArchive:
    """The pickle and the tensors in a zip file of ``torch.save``.

    Args:
        file: From ``open_zip``.
        path: Its path.

    Raises:
        TorchFileError: It is another zip file, or of a machine with another byte order.
    """

    def __init__(self, file: ZipFile, path: str | Path) -> None:
        pickles = [name for name in file.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise TorchFileError("a zip file, and none of torch.save")
        self._file = file
        self._folder = pickles[0].split("/")[0]
        self._bytes_left = Path(path).stat().st_size  # entries may not share bytes
        self._storages: dict[Storage, Tensor] = {}
        if f"{self._folder}/byteorder" in file.namelist():
            order = self._read("byteorder", 16)
            if order != b"little":
                raise TorchFileError(f"byte order {order!r} is not supported")

    def pickle(self) -> bytes:
        """The program that builds what was saved.

        Raises:
            TorchFileError: It is too long, or its entry not as torch writes it.
        """
        return self._read("data.pkl", MAX_PICKLE_BYTES)

    def tensor(
        self, storage: Storage, offset: int, size: tuple, stride: tuple
    ) -> Tensor:
        """A view of a storage, which is read when the first tensor needs it.

        Args:
            storage: Which.
            offset: Index in the storage of the tensor's first number.
            size: Shape of the tensor.
            stride: Step in the storage from one index to the next, by dimension.

        Returns:
            The tensor. Those of one storage share their memory.

        Raises:
            TorchFileError: The tensor reaches beyond the storage, or the entry of the
                storage is not what the pickle says.
        """
        numbers = (offset, *size, *stride)
        if not len(size) == len(stride) <= MAX_DIMS or not all(
            type(n) is int and 0 <= n < 2**48 for n in numbers
        ):
            raise TorchFileError("a tensor of impossible size, stride or offset")
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
        if storage not in self._storages:
            name = f"data/{storage.key}"
            data = self._read(name, self._bytes_left)
            self._bytes_left -= len(data)
            if len(data) != storage.numel * storage.dtype.itemsize:
                raise TorchFileError(
                    f"{name} has {len(data)} bytes, not {storage.numel} numbers of "
                    f"{storage.dtype}"
                )
            if storage.dtype == torch.bool and data.strip(b"\0\1"):
                raise TorchFileError(f"{name} has more than truth values")
            self._storages[storage] = torch.frombuffer(
                bytearray(data), dtype=storage.dtype
            )
        return self._storages[storage]

    def _read(self, name: str, at_most: int) -> bytes:
        """An entry, uncompressed as torch writes it: else little becomes much."""
        try:
            entry = self._file.getinfo(f"{self._folder}/{name}")
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
        return self._file.read(entry)
