"""The module that stands for `mmcv._ext`."""

import re
import subprocess
import sys
from pathlib import Path

import mmcv.ops
import pytest
import torch

from mmareaaware_ops import ext


def test_has_every_operator_that_mmcv_asks_for():
    asked = set()
    for path in Path(mmcv.ops.__file__).parent.glob("*.py"):
        for names in re.findall(
            r"load_ext\(\s*'_ext',\s*\[(.*?)\]", path.read_text(), re.S
        ):
            asked |= set(re.findall(r"'(\w+)'", names))
    assert len(asked) > 80
    assert set(ext.__all__) <= asked
    assert all(callable(getattr(ext, name)) for name in asked)


def test_operator_that_is_missing_says_so(ours):
    with pytest.raises(NotImplementedError) as error:
        mmcv.ops.nms_match(torch.zeros(1, 5), 0.5)
    assert "'nms_match'" in str(error.value)
    assert "OPS=compiled tools/setup.sh" in str(error.value)
    assert "pip install mmcv" in str(error.value)


@pytest.mark.parametrize("name", ["__path__", "__wrapped__", "_private"])
def test_other_names_do_not_exist(name):
    with pytest.raises(AttributeError, match=name):
        getattr(ext, name)


def test_versions_for_mmengine(ours):
    assert "torch" in mmcv.ops.get_compiler_version()
    assert "torch" in mmcv.ops.get_compiling_cuda_version()


def test_package_imports_neither_torch_nor_us():
    code = (
        "import sys, mmareaaware_ops;"
        "assert not {'torch', 'mmcv', 'mmareaaware'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
