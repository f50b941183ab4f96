"""MMYOLO is optional: it is GPL, and two-stage detectors have no use for it."""

import json
import subprocess
import sys

import pytest

LIST = """
import json, sys
from mmengine import registry
import mmareaaware
from mmareaaware.check import REGISTRIES
print(json.dumps({
    name: sorted(
        key for key, value in getattr(registry, name).module_dict.items()
        if value.__module__.startswith("mmareaaware")
    )
    for name in REGISTRIES
}))
"""
BLOCK = "import sys; sys.modules['mmyolo'] = None\n"


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_every_name_is_registered_without_it_too():
    with_it, without_it = (json.loads(python(p + LIST).stdout) for p in ("", BLOCK))
    assert without_it == with_it
    assert "AreaAwareYOLOv8Head" in with_it["MODELS"]


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("MODELS", "AreaAwareYOLOv8Head"),
        ("MODELS", "YOLO11CSPDarknet"),
        ("DATASETS", "DigitsDataset"),
    ],
)
def test_a_yolo_part_says_what_is_missing(registry, name):
    code = f"""
from mmengine.registry import {registry}
import mmareaaware
{registry}.build(dict(type={name!r}, num_classes=3))
"""
    result = python(BLOCK + code)
    (*_, last) = result.stderr.strip().splitlines()
    assert f"{name} is built on MMYOLO, which is not installed: pip install" in last


def test_a_two_stage_detector_trains():
    result = python(
        BLOCK + "from mmareaaware.check import main; raise SystemExit(main())"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "OK everything works" in result.stdout


def test_two_stage_recipes_build(root):
    code = f"""
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
import mmareaaware
for recipe in ("faster_rcnn/faster-rcnn_r50_fpn_pos-weighted_area-aware_1x_coco.py",
               "demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py"):
    cfg = Config.fromfile(f"{root}/configs/" + recipe)
    assert "mmyolo" not in str(cfg.to_dict())
    with DefaultScope.overwrite_default_scope("mmdet"):
        print(type(MODELS.build(cfg.model)).__name__)
"""
    assert python(BLOCK + code).stdout.split() == ["FasterRCNN", "FasterRCNN"]
