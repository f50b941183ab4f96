"""The compiled operators, where there are any, and ours in mmcv's functions."""

import importlib
import pkgutil
import sys
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES

import mmcv.ops
import pytest

import mmareaaware_ops.ext

ASK = "mmcv's operators are not compiled here (OPS=compiled tools/setup.sh)"


@pytest.fixture(scope="session")
def compiled():
    """The compiled `mmcv._ext`."""
    ext = importlib.import_module("mmcv._ext")
    if not ext.__file__.endswith(tuple(EXTENSION_SUFFIXES)):
        pytest.skip(ASK)
    return ext


@contextmanager
def operators(ext):
    """mmcv's functions call this module meanwhile."""
    names = [m.name for m in pkgutil.iter_modules(mmcv.ops.__path__, "mmcv.ops.")]
    modules = [sys.modules[name] for name in names if name in sys.modules]
    before = {m: m.ext_module for m in modules if hasattr(m, "ext_module")}
    for module in before:
        module.ext_module = ext
    try:
        yield
    finally:
        for module, theirs in before.items():
            module.ext_module = theirs


@pytest.fixture
def ours():
    """mmcv's functions call our operators."""
    with operators(mmareaaware_ops.ext):
        yield mmareaaware_ops.ext
