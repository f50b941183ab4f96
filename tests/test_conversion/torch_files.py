"""Files for the tests of reading them."""

import pickle
import zipfile

import torch
from torch import nn

from mmareaaware.conversion.torch_file import find_state_dict, read_torch_file


def read_weights(path):
    return find_state_dict(read_torch_file(path), path)


class Net(nn.Module):
    """All kinds of things that a module can hold."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.nothing = None
        self.register_parameter("no_parameter", None)
        self.register_buffer("kept", torch.arange(3.0))
        self.register_buffer("passing", torch.arange(3.0), persistent=False)
        self.head = nn.ModuleList([nn.Linear(2, 2)])
        self.shared = self.head[0]
        self.classes = {0: "cat"}
        self.register_forward_hook(print)


def save(content, path, **options):
    torch.save(content, path, **options)
    return path


def zip_of(path, program: bytes, compression=zipfile.ZIP_STORED, **entries):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        for name, data in entries.items():
            file.writestr(f"archive/data/{name}", data)
    return path


def equal(state, expected):
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value)


def tensor_program(numel=1, size=(1,), stride=(1,), offset=0, storage=b"FloatStorage"):
    """A dict of one tensor, as torch writes it."""

    def pickled(*values):
        return b"".join(pickle.dumps(value, protocol=2)[2:-1] for value in values)

    return (
        b"\x80\x02}"
        + pickled("w")
        + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + pickled("storage")
        + b"ctorch\n%s\n" % storage
        + pickled("0", "cpu", numel)
        + b"tQ"
        + pickled(offset, size, stride)
        + b"\x89}tRs."
    )
