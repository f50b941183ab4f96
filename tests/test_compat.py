import pickle
import re
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner import FlexibleRunner, Runner

from mmareaaware import compat


def import_with(prelude: str) -> subprocess.CompletedProcess:
    code = f"import sys\n{prelude}\nimport mmareaaware"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("package", ["torch", "mmengine", "mmcv", "mmdet"])
def test_a_missing_package_is_named(package):
    result = import_with(f"sys.modules[{package!r}] = None")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: {package} is not installed. ")
    assert "tools/setup.sh" in last


def test_an_opencv_that_wants_a_display_is_named():
    library = "libGL.so.1: cannot open shared object file"
    result = import_with(
        f"import mmareaaware_ops\nclass Broken:\n"
        f" @staticmethod\n def find_spec(name, path=None, target=None):\n"
        f"  if name == 'cv2': raise ImportError({library!r})\n"
        "sys.meta_path.insert(0, Broken)"
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: mm")
    assert library in last
    assert last.endswith(compat.OPENCV_HELP)


def test_broken_operators_are_named():
    result = import_with("import mmcv; sys.modules['mmcv._ext'] = None")
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: mmcv.ops cannot be used (")
    assert "mmcv._ext" in last


def test_mmcv_keeps_its_version():
    import mmcv

    assert mmcv.__version__ == mmcv.version.__version__


@pytest.mark.parametrize(
    ("torch_version", "mmengine_version", "needed"),
    [
        ((2, 13, 0), (0, 10, 7), True),
        ((2, 5, 1), (0, 10, 7), False),
        ((2, 13, 0), (0, 10, 12), False),
    ],
)
def test_resuming_is_mended_only_where_needed(
    monkeypatch, torch_version, mmengine_version, needed
):
    versions = dict(torch=torch_version, mmengine=mmengine_version)
    monkeypatch.setattr(compat, "_version", versions.__getitem__)
    assert compat._resume_is_refused() == needed


@pytest.mark.parametrize(
    ("mmcv_version", "needed"), [((2, 0, 1), False), ((2, 1, 0), True)]
)
def test_mmyolo_is_mended_only_where_needed(monkeypatch, mmcv_version, needed):
    monkeypatch.setattr(compat, "_version", dict(mmcv=mmcv_version).__getitem__)
    assert compat._mmyolo_refuses_mmcv() == needed


@pytest.mark.parametrize("is_needed", [True, False])
def test_activate_applies_what_is_needed_and_says_so(monkeypatch, is_needed):
    applied = []
    entry = compat.Entry(
        name="a mend",
        versions="of something",
        why="it breaks",
        until="it does not",
        is_needed=lambda: is_needed,
        apply=lambda: applied.append("a mend"),
    )
    monkeypatch.setattr(compat, "ENTRIES", (entry,))
    assert compat.activate() == ((entry,) if is_needed else ())
    assert applied == ["a mend"] * is_needed


def test_entries_name_the_packages_that_disagree():
    """And have names of their own, under which ``check`` lists them."""
    assert len({entry.name for entry in compat.ENTRIES}) == len(compat.ENTRIES) == 3
    for entry in compat.ENTRIES:
        pair = r"(mmyolo|mmengine) (<= )?\d[\d.]* with |mmengine, all"
        assert re.search(pair, entry.versions)
        for text in (entry.why, entry.until):
            assert re.search(r"mmyolo|torch\.load|checkpoint|mmengine", text), text


class TenNumbers(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index


@pytest.mark.parametrize("runner", [Runner, FlexibleRunner])
def test_the_collate_function_of_another_package(runner):
    """As of a config that inherits ``mmyolo::...``, which has ``_scope_`` in it."""
    config = ConfigDict(
        batch_size=5,
        dataset=TenNumbers(),
        sampler=dict(type="DefaultSampler", shuffle=False, _scope_="mmengine"),
        collate_fn=dict(type="default_collate", _scope_="mmengine"),
    )
    given = deepcopy(config)
    first, _ = runner.build_dataloader(config, seed=0)
    assert first.tolist() == [0, 1, 2, 3, 4]
    assert config.collate_fn == given.collate_fn
    config.collate_fn = list
    assert next(iter(runner.build_dataloader(config))) == [0, 1, 2, 3, 4]


class Attack:
    """Pickles to getattr(module, name), as an attacker would."""

    def __init__(self, owner, name):
        self.arguments = owner, name

    def __reduce__(self):
        return getattr, self.arguments


@pytest.mark.skipif(
    not compat._resume_is_refused(), reason="these versions need no safe-resume"
)
@pytest.mark.parametrize("name", ["__init__", "__class__"])
def test_safe_resuming_lends_no_attributes(tmp_path, name):
    from mmengine.logging import HistoryBuffer

    path = tmp_path / "attack.pth"
    torch.save(dict(x=Attack(HistoryBuffer, name)), path)
    with pytest.raises((TypeError, pickle.UnpicklingError)):
        torch.load(path)
