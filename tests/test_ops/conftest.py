"""The compiled operators, where there are any, and ours in mmcv's functions."""

import importlib
from importlib.machinery import EXTENSION_SUFFIXES

import mmcv.ops  # noqa: F401 (loads the modules whose operators are swapped)
import pytest

import mmareaaware_ops.ext
from mmareaaware_ops.swap import operators

ASK = "mmcv's operators are not compiled here (OPS=compiled tools/setup.sh)"


@pytest.fixture(scope="session")
def compiled():
    """The compiled `mmcv._ext`."""
    ext = importlib.import_module("mmcv._ext")
    if not ext.__file__.endswith(tuple(EXTENSION_SUFFIXES)):
        pytest.skip(ASK)
    return ext


@pytest.fixture
def ours():
    """mmcv's functions call our operators."""
    with operators(mmareaaware_ops.ext):
        yield mmareaaware_ops.ext
