"""Zip files of torch.save, sound, damaged and made to do harm."""

import io
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from mmareaaware.conversion.torch_archive import Storage, TorchArchive
from mmareaaware.conversion.torch_file import TorchFileError, read_torch_file
from tests.test_conversion.torch_files import (
    Net,
    equal,
    read_weights,
    save,
    tensor_program,
    zip_of,
)


def test_views_types_and_empty_tensors(tmp_path):
    whole = torch.arange(24.0).view(2, 3, 4)
    dtypes = [torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool]
    content = OrderedDict(
        view=whole.transpose(0, 2)[1:, :2],
        scalar=torch.tensor(3),
        empty=torch.empty(0),
        none=torch.empty(2, 0, 3),
        parameter=nn.Parameter(torch.ones(2)),
        **{str(dtype): torch.tensor([0, 1, 1]).to(dtype) for dtype in dtypes},
    )
    read = read_torch_file(save(content, tmp_path / "t.pt"))
    equal(read, content)


def test_the_tensor_program_is_one(tmp_path):
    path = zip_of(tmp_path / "p.pt", tensor_program(), **{"0": struct.pack("<f", 7)})
    assert read_torch_file(path)["w"].tolist() == [7]


@pytest.mark.parametrize(
    "arguments",
    [
        dict(numel=2**40),
        dict(numel=2**40, size=(2**40,)),
        dict(size=(2**40,), stride=(0,)),
        dict(size=(2,)),
        dict(offset=1),
        dict(offset=-1),
        dict(stride=(-1,)),
        dict(size=(1, 1)),
        dict(size=(1,) * 100, stride=(1,) * 100),
        dict(size=(0, 2**62), stride=(1, 1)),
        dict(size=(1.0,)),
        dict(size="1"),
        dict(storage=b"UntypedStorage"),
        dict(storage=b"DoubleStorage"),
    ],
    ids=str,
)
def test_tensors_that_are_not_in_the_file(tmp_path, arguments):
    path = zip_of(tmp_path / "p.pt", tensor_program(**arguments), **{"0": b"\0" * 4})
    with pytest.raises(TorchFileError, match=r"p\.pt"):
        read_torch_file(path)


def test_compressed_entries(tmp_path):
    zeros = b"\0" * 2**26
    path = zip_of(
        tmp_path / "z.pt",
        tensor_program(2**24, (2**24,)),
        zipfile.ZIP_DEFLATED,
        **{"0": zeros},
    )
    assert path.stat().st_size < 2**18
    with pytest.raises(TorchFileError, match="is compressed"):
        read_torch_file(path)


def test_entries_that_share_their_bytes(tmp_path):
    """Many names for the same bytes of a zip file: more memory than the file has."""
    data = b"\0" * 2**16
    path = zip_of(tmp_path / "o.pt", tensor_program(2**14, (2**14,)), **{"0": data})
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("archive/data/0")
        archive.NameToInfo["archive/data/1"] = entry
        content = TorchArchive(archive, path)
        same = [Storage(str(key), torch.float32, 2**14) for key in range(2)]
        content.tensor(same[0], 0, (1,), (1,))
        with pytest.raises(TorchFileError, match="more than"):
            content.tensor(same[1], 0, (1,), (1,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"weights\n" * 100, "is no file of torch.save"),
        (b"\x80\x02}.", "is of torch older than 1.6, or a bare pickle"),
        (b"PK\x03\x04" + b"\0" * 100, "is cut off or damaged"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(TorchFileError, match=f"x.pt {message}"):
        read_torch_file(path)


def test_old_format(tmp_path):
    path = save({}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(TorchFileError, match=r"older than 1\.6"):
        read_torch_file(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_truncated(tmp_path, part):
    path = save(Net(), tmp_path / "x.pt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(TorchFileError, match="cut off or damaged"):
        read_torch_file(path)


def test_every_flipped_byte_is_read_or_refused(tmp_path):
    """Nothing but TorchFileError, whatever is broken."""
    buffer = io.BytesIO()
    torch.save(dict(model=Net()), buffer)
    path, whole = tmp_path / "x.pt", buffer.getvalue()
    generator = torch.Generator().manual_seed(0)
    read = 0
    for position in torch.randint(len(whole), (400,), generator=generator).tolist():
        broken = bytearray(whole)
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        try:
            read_weights(path)
            read += 1
        except TorchFileError:
            pass
    assert 0 < read < 400
