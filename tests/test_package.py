"""The wheel: what it needs, and that it works away from the checkout."""

import os
import subprocess
import sys
from email.parser import Parser
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.skipif(
    not os.access(os.path.dirname(sys.executable), os.W_OK), reason="no own environment"
)

PROBE = """
import sys
import mmengine.registry as registry
from mmengine.config import Config

assert "mmareaaware" not in sys.modules
Config.fromfile("config.py")
import mmareaaware

print(mmareaaware.__file__)
for name in ("MODELS", "TASK_UTILS", "HOOKS", "METRICS", "DATASETS"):
    for key, value in getattr(registry, name).module_dict.items():
        if value.__module__.startswith("mmareaaware"):
            print(name, key)
"""


def test_it_forces_no_mm_package_on_anyone(wheel):
    with ZipFile(wheel) as file:
        (name,) = [n for n in file.namelist() if n.endswith("METADATA")]
        metadata = Parser().parsestr(file.read(name).decode())
        assert not [n for n in file.namelist() if n.startswith(("tests", "tools"))]
        assert "mmareaaware/py.typed" in file.namelist()
    hard = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    assert hard == ["rich"]
    assert {"openmmlab", "mmdet", "onedl"} <= set(metadata.get_all("Provides-Extra"))


def test_it_registers_everything_from_any_working_directory(wheel, tmp_path):
    with ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    work = tmp_path / "elsewhere"
    work.mkdir()
    (work / "config.py").write_text("custom_imports = dict(imports=['mmareaaware'])")
    (work / "probe.py").write_text(PROBE)
    environment = os.environ | dict(PYTHONPATH=str(tmp_path / "site"))
    text = subprocess.run(
        [sys.executable, "probe.py"],
        check=True,
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
    ).stdout
    assert str(tmp_path / "site") in text
    for line in (
        "MODELS AreaAwareYOLOv8Head",
        "MODELS AreaAwareBCELoss",
        "MODELS BgPenaltyLoss",
        "TASK_UTILS PowerAreaWeight",
        "TASK_UTILS LDAMMargin",
        "HOOKS LossParamSchedulerHook",
        "HOOKS ClassCountsHook",
        "METRICS BackgroundFPMetric",
        "METRICS SizeBinnedCocoMetric",
        "DATASETS DigitsDataset",
    ):
        assert line in text.splitlines()
