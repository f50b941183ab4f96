"""Files of torch.save, and files made to do harm when they are read."""

import contextlib
import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from mmareaaware.conversion import torch_file
from mmareaaware.conversion.torch_file import (
    Placeholder,
    TorchFileError,
    read_torch_file,
)


def read_weights(path):
    return torch_file.find_state_dict(read_torch_file(path), path)


CANARY = []


def trip(*args, **kwargs):
    """What an attack calls: it leaves a trace."""
    CANARY.append(args)
    return nn.Identity()


@pytest.fixture(autouse=True)
def _nothing_ran():
    CANARY.clear()
    yield
    assert CANARY == []


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
        self.register_forward_hook(trip)


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


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("half", [False, True])
def test_a_pickled_module_gives_its_state_dict(tmp_path, protocol, half):
    model = Net().half() if half else Net()
    content = dict(epoch=-1, ema=None, model=model, date="today", opt=dict(lr=0.1))
    path = save(content, tmp_path / "n.pt", pickle_protocol=protocol)
    read = read_torch_file(path)
    assert isinstance(read["model"], Placeholder)
    assert str(read["model"].origin).endswith("test_torch_file.Net")
    assert (read["epoch"], read["opt"]) == (-1, dict(lr=0.1))
    equal(read_weights(path), model.state_dict())


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


def test_a_checkpoint_of_a_training(tmp_path):
    """Ours, with optimiser and history."""
    from mmengine.logging import HistoryBuffer

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    model.layers(torch.rand(1, 3, 2, 2)).sum().backward()
    optimizer.step()
    content = dict(
        state_dict=model.state_dict(),
        optimizer=optimizer.state_dict(),
        message_hub=dict(log_scalars={"train/loss": HistoryBuffer([1.0], [1])}),
    )
    path = save(content, tmp_path / "epoch_1.pth")
    equal(read_weights(path), model.state_dict())


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args, state) if state else (function, args)

    def __reduce__(self):
        return self.reduced


def nested():
    model = Net()
    model.layers[1].extra = Calls(trip, "nested")
    return model


def as_module():
    model = Net()
    model._modules["layers"] = Calls(trip)
    return model


def as_weight():
    model = Net()
    model._parameters["weight"] = Calls(
        torch._utils._rebuild_parameter, Calls(trip), True, OrderedDict()
    )
    return model


MALICIOUS = {
    "reduce": lambda: Calls(trip, "x"),
    "system": lambda: Calls(os.system, "echo ran > ran"),
    "eval": lambda: Calls(eval, "trip()", {"trip": trip}),
    "getattr": lambda: Calls(Calls(getattr, sys.modules[__name__], "trip")),
    "getattr of a class": lambda: Calls(getattr, Calls(getattr, os, "path"), "x"),
    "nested in a module": nested,
    "in place of a module": as_module,
    "by rebuilding a parameter": as_weight,
    "by rebuilding a tensor": lambda: Calls(
        torch._utils._rebuild_tensor_v2, Calls(trip), 0, (1,), (1,), False, {}
    ),
    "by rebuilding from a type": lambda: Calls(
        torch._tensor._rebuild_from_type_v2, trip, object, ("x",), {}
    ),
    "state of a dict": lambda: Calls(OrderedDict, state={"x": Calls(trip)}),
    "import": lambda: Calls(__import__, "os"),
}


# Modules do not pickle: getattr's first argument is a name that any pickler finds
@pytest.mark.parametrize("name", [k for k in MALICIOUS if "getattr" not in k])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_a_pickle_calls_is_not_called(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    content = dict(model=MALICIOUS[name](), more=[MALICIOUS[name]()])
    path = save(content, tmp_path / "m.pt", pickle_protocol=protocol)
    try:
        state = read_weights(path)
    except TorchFileError:
        pass  # it stood where weights have to be
    else:
        assert name == "nested in a module"
        equal(state, Net().state_dict() | state)
    assert not (tmp_path / "ran").exists()


def test_the_attacks_work_where_pickle_is_trusted(tmp_path, monkeypatch):
    """Else the test above says nothing."""
    monkeypatch.chdir(tmp_path)
    path = save(dict(model=nested()), tmp_path / "m.pt")
    torch.load(path, weights_only=False)
    assert CANARY == [("nested",)]
    CANARY.clear()
    save(MALICIOUS["system"](), path)
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()


TRIP = b"c" + __name__.encode() + b"\ntrip\n"
PROGRAMS = {
    "persistent id": TRIP + b")RQ.",
    "persistent id of the file's own type": b"(\x8c\x07storage"
    + TRIP
    + b")R\x8c\x010\x8c\x03cpuK\x01tQ.",
    "persistent id, as text": b"Ptrip\n.",
    "INST": b"(i" + __name__.encode() + b"\ntrip\n.",
    "OBJ": b"(" + TRIP + b"o.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "call of a result": TRIP + b")R)R.",
    "call of a text": b"\x8c\x04trip)R.",
    "builtins.getattr": b"cbuiltins\ngetattr\n(" + TRIP + b"\x8c\x08__call__tR)R.",
    "BUILD a class": TRIP + b"}\x8c\x0c__setstate__" + TRIP + b"sb)R.",
    "BUILD a list": b"]" + TRIP + b")Rb.",
    "BUILD, then NEWOBJ": TRIP + b")\x81}\x8c\x0c__setstate__" + TRIP + b"sb}b.",
    "NEWOBJ_EX": TRIP + b")}\x92.",
    "STACK_GLOBAL of objects": TRIP + TRIP + b"\x93)R.",
    "buffer from outside": b"\x97.",
    "append to what is no list": TRIP + b")Ra.",
    "a dotted name": b"\x8c\x02os\x8c\x06system\x93\x8c\x08echo ran\x85R.",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_no_pickler_writes(tmp_path, name):
    program = b"\x80\x04" + PROGRAMS[name]
    list(pickletools.genops(program))  # well formed
    path = zip_of(tmp_path / "p.pt", program)
    with pytest.raises(TorchFileError, match=r"p\.pt"):
        read_weights(path)


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


def doubling(inner: bytes, levels: int, pair: bytes) -> bytes:
    """A container that holds the one before twice, and so on."""
    return inner + b"".join(b"\x94(h%ch%c" % (i, i) + pair for i in range(levels))


BOMBS = {
    "lists in lists": b"\x80\x04" + doubling(b"]", 200, b"l") + b".",
    "a key whose hash never ends": b"\x80\x04}" + doubling(b")", 200, b"t") + b"Ns.",
    "many dicts": b"\x80\x04" + b"}" * 30_000_000 + b".",
    "an integer of digits": b"\x80\x04I" + b"9" * 10_000_000 + b"\n.",
    "a long text": b"\x80\x04\x8d" + struct.pack("<Q", 2**50) + b"abc.",
    "a memo far out": b"\x80\x04}r\xff\xff\xff\x7f.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name):
    """In a process of their own, with little memory."""
    path = zip_of(tmp_path / "b.pt", BOMBS[name])
    code = (
        "import sys, resource\n"
        "from mmareaaware.conversion.torch_file import *\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: find_state_dict(read_torch_file(sys.argv[1]), sys.argv[1])\n"
        "except TorchFileError as e: print(e)\n"
        "else: print('read')\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print((peak - base) // 1024)\n"
    )
    text = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120
    )
    assert text.returncode == 0, text.stderr
    *_, message, mebibytes = text.stdout.splitlines()
    assert "b.pt" in message
    assert int(mebibytes) < 400


def module_program(children: bytes) -> bytes:
    """A module in the memo under 0, with such a dict as its children."""
    return (
        b"\x80\x04cnn\nModule\n)\x81\x94}(\x8c\x0b_parameters}\x8c\x08_buffers}"
        b"\x8c\x08_modules}(" + children + b"uub."
    )


def test_a_module_in_itself(tmp_path):
    for children in (b"\x8c\x01ah\x00", b"\x8c\x01ah\x00\x8c\x01bh\x00"):
        path = zip_of(tmp_path / "p.pt", module_program(children))
        with pytest.raises(TorchFileError, match="so many modules"):
            read_weights(path)


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
        storages = torch_file._Storages(archive, path)
        same = [torch_file.Storage(str(key), torch.float32, 2**14) for key in range(2)]
        storages.tensor(same[0], 0, (1,), (1,))
        with pytest.raises(TorchFileError, match="more than"):
            storages.tensor(same[1], 0, (1,), (1,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"weights\n" * 100, "is no file of torch.save"),
        (b"\x80\x02}.", "is a file of torch older than 1.6, or a bare pickle"),
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


def test_every_damaged_program_is_read_or_refused(tmp_path):
    with zipfile.ZipFile(save(dict(model=Net()), tmp_path / "n.pt")) as file:
        (name,) = (n for n in file.namelist() if n.endswith("data.pkl"))
        program = file.read(name)
        entries = {
            n.rpartition("/")[2]: file.read(n) for n in file.namelist() if "/data/" in n
        }
    generator = torch.Generator().manual_seed(0)
    for position in torch.randint(len(program), (400,), generator=generator).tolist():
        broken = bytearray(program)
        broken[position] = int(torch.randint(256, (1,), generator=generator))
        path = zip_of(tmp_path / "x.pt", bytes(broken), **entries)
        with contextlib.suppress(TorchFileError):
            read_weights(path)


@pytest.mark.parametrize(
    "content", [{}, [], dict(epoch=3), dict(a=1), dict(model=dict(a=1)), "text", None]
)
def test_no_model(tmp_path, content):
    with pytest.raises(TorchFileError, match="no model"):
        read_weights(save(content, tmp_path / "x.pt"))
