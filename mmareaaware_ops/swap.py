"""mmcv's functions on another extension module for a while: to compare two kinds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def operators(ext: ModuleType) -> Iterator[None]:
    """All functions of `mmcv.ops` call the operators of `ext` meanwhile."""
    before = {
        module: module.ext_module
        for name, module in list(sys.modules.items())
        if name.startswith("mmcv.ops.") and hasattr(module, "ext_module")
    }
    for module in before:
        module.ext_module = ext
    try:
        yield
    finally:
        for module, theirs in before.items():
            module.ext_module = theirs
