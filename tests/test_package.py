"""The wheel: what it needs, what it holds, and that it works away from the checkout."""

import os
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from mmengine.config.utils import _get_cfg_metainfo

import mmareaaware
from tests.conftest import ROOT
from tests.metafiles import folders, index, metafile

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

RECIPE = "yolov8/yolov8_s_bg-max_8xb16-500e_coco"
# Of somebody who has the wheel: read by MMEngine alone
INHERITS = f"""
_base_ = __import__("mmareaaware").recipe("{RECIPE}.py")
model = dict(bbox_head=dict(loss_bg=dict(mode="focal")))
train_pipeline = _base_.train_pipeline
"""
READ = """
import sys
from mmengine.config import Config

assert "mmareaaware" not in sys.modules
cfg = Config.fromfile("mine.py")
print(cfg.model.bbox_head.loss_bg.type, cfg.model.bbox_head.loss_bg.mode)
print("mmareaaware" in str(cfg.train_pipeline), len(cfg.train_pipeline) > 5)
print(sys.modules["mmareaaware"].__file__)
"""


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The wheel, installed."""
    path = tmp_path_factory.mktemp("site")
    with ZipFile(wheel) as file:
        file.extractall(path)
    return path


def run_away_from_the_checkout(script: str, site: Path, folder: Path) -> list[str]:
    """What a script prints that is run in a folder, with the installed wheel."""
    (folder / "script.py").write_text(script)
    text = subprocess.check_output(
        [sys.executable, "script.py"],
        cwd=folder,
        env=os.environ | dict(PYTHONPATH=str(site)),
        text=True,
    )
    return text.splitlines()


def test_it_forces_no_mm_package_on_anyone(wheel):
    with ZipFile(wheel) as file:
        (name,) = [n for n in file.namelist() if n.endswith("METADATA")]
        metadata = Parser().parsestr(file.read(name).decode())
        assert not [n for n in file.namelist() if n.startswith(("tests", "tools"))]
        assert "mmareaaware/py.typed" in file.namelist()
    hard = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    assert hard == ["rich"]
    assert {"openmmlab", "mmdet", "onedl"} <= set(metadata.get_all("Provides-Extra"))


def test_it_registers_everything_from_any_working_directory(site, tmp_path):
    (tmp_path / "config.py").write_text(
        "custom_imports = dict(imports=['mmareaaware'])"
    )
    lines = run_away_from_the_checkout(PROBE, site, tmp_path)
    assert str(site / "mmareaaware/__init__.py") in lines
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
        assert line in lines


def test_a_config_inherits_a_recipe_of_the_wheel_from_any_folder(site, tmp_path):
    (tmp_path / "mine.py").write_text(INHERITS)
    *values, file = run_away_from_the_checkout(READ, site, tmp_path)
    # and no scope is written into what it takes from the recipe
    assert values == ["BgPenaltyLoss focal", "False True"]
    assert file == str(site / "mmareaaware/__init__.py")


def test_a_recipe_of_the_wheel_trains_in_an_empty_folder(site, tmp_path, demo_options):
    """What `mim train mmareaaware RECIPE` starts."""
    mim = site / "mmareaaware/.mim"
    recipe = mim / "configs/demo/yolov8_n_bg-max_1xb8-14e_digits.py"
    options = demo_options | {"train_cfg.max_epochs": 1}
    result = subprocess.run(
        [sys.executable, mim / "tools/train.py", recipe, "--cfg-options"]
        + [f"{key}={value}" for key, value in options.items()],
        cwd=tmp_path,
        env=os.environ | dict(PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / f"work_dirs/{recipe.stem}/epoch_1.pth").exists()


def test_a_recipe_that_there_is_not():
    with pytest.raises(FileNotFoundError, match=f"Near it: .*{RECIPE}"):
        mmareaaware.recipe("yolov8_s_bg-max_8xb16_coco.py")


def test_recipes_of_a_checkout_are_those_in_configs():
    assert mmareaaware.recipe(f"{RECIPE}.py") == str(ROOT / f"configs/{RECIPE}.py")


def test_mim_finds_every_recipe_and_the_tools(site):
    mim = site / "mmareaaware/.mim"
    models = [model for f in folders() for model in metafile(f)["Models"]]
    assert [m["Config"] for m in models if not (mim / m["Config"]).is_file()] == []
    by_file = {model["Config"]: model for model in models}
    found = _get_cfg_metainfo(str(mim.parent), f"{RECIPE}.py")
    assert found == by_file[f"configs/{RECIPE}.py"]
    for tool in ("train.py", "test.py", "dist_train.sh"):
        assert (mim / "tools" / tool).read_text() == (ROOT / "tools" / tool).read_text()


def test_the_version_is_the_same_everywhere():
    heading = f"# Changelog\n\n## {mmareaaware.__version__} ("
    assert (ROOT / "CHANGELOG.md").read_text().startswith(heading)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == mmareaaware.__version__
    date = citation["date-released"].isoformat()
    assert f"{heading}{date})" in (ROOT / "CHANGELOG.md").read_text()


def test_mim_finds_a_recipe_by_the_name_of_its_file():
    names = [path.name for path in (ROOT / "configs").rglob("*.py")]
    assert len(set(names)) == len(names)


def test_metafiles_have_all_recipes_and_the_results_of_the_records():
    """Else: ``python -m tests.metafiles`` writes them."""
    assert yaml.safe_load((ROOT / "model-index.yml").read_text()) == index()
    for folder in folders():
        written = yaml.safe_load((folder / "metafile.yml").read_text())
        assert written == metafile(folder)


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(wheel, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist"]
    subprocess.run([*command, "-d", str(tmp_path)], check=True, cwd=ROOT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    command += ["--no-build-isolation", "-w", str(tmp_path), str(sdist)]
    subprocess.run(command, check=True)
    with ZipFile(wheel) as one, ZipFile(tmp_path / wheel.name) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
    pytest.importorskip("twine")
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)],
        check=True,
    )
