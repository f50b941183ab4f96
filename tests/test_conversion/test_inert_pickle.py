"""Pickles made to do harm when they are read."""

import contextlib
import os
import pickletools
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from mmareaaware.conversion.torch_file import TorchFileError, read_torch_file
from tests.test_conversion.torch_files import Net, equal, read_weights, save, zip_of

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


def test_keys_are_numbers_and_texts(tmp_path):
    """The hash of any other may take forever, as that of a bomb below."""
    kept = {"a": 1, 2: "b", 0.5: None, None: [], False: {}}
    path = save(kept | {(1, 2): "x", frozenset(): "y", int: "z"}, tmp_path / "k.pt")
    assert read_torch_file(path) == kept


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
