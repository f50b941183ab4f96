"""The tools of mmyolo and mmdet train and validate on this stack, from any folder.

Stock recipes without a word of ours, and blocks of README and pages on top of them.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmareaaware import compat
from tests.pages import blocks


def run_tool(package, config, cwd, options) -> str:
    """What a package's own ``tools/train.py`` printed."""
    tool = Path(find_spec(package).origin).parent / ".mim/tools/train.py"
    if not tool.exists():
        pytest.skip(f"this {package} comes without .mim/tools")
    command = [sys.executable, str(tool), str(config), "--work-dir", "out"]
    command += ["--cfg-options", *(f"{k}={v}" for k, v in options.items())]
    # As a user has it: nothing of this checkout on the path
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def recipe(package, name, block, folder) -> Path:
    """A stock recipe, or a config of the user's that has one of our blocks."""
    if block is None:
        return Path(find_spec(package).origin).parent / ".mim/configs" / name
    (folder / "config.py").write_text(block)
    return folder / "config.py"


@pytest.fixture(scope="module")
def coco(digits, tmp_path_factory) -> Path:
    """A few images of the digits, as the first ten of COCO's classes."""
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO["classes"]
    path = tmp_path_factory.mktemp("coco")
    for split in ("train", "val"):
        content = json.loads((digits / f"annotations/{split}.json").read_text())
        boxes = content["annotations"]
        with_boxes = {box["image_id"] for box in boxes}
        images = [image for image in content["images"] if image["id"] in with_boxes]
        content["images"] = images[:4]
        kept = {image["id"] for image in images[:4]}
        content["annotations"] = [box for box in boxes if box["image_id"] in kept]
        content["categories"] = [dict(id=i, name=name) for i, name in enumerate(names)]
        (path / f"{split}.json").write_text(json.dumps(content))
        (path / split).symlink_to(digits / split)
    return path


@pytest.fixture
def data_options(coco) -> dict:
    """Any COCO recipe on a few images, without worker processes."""
    options = {"val_evaluator.ann_file": f"{coco}/val.json"}
    for split in ("train", "val"):
        loader = f"{split}_dataloader"
        options |= {
            f"{loader}.batch_size": 2,
            f"{loader}.num_workers": 0,
            f"{loader}.persistent_workers": False,
            f"{loader}.dataset.data_root": f"{coco}/",
            f"{loader}.dataset.ann_file": f"{split}.json",
            f"{loader}.dataset.data_prefix.img": f"{split}/",
            f"{loader}.dataset.filter_cfg.min_size": 0,
        }
    return options | {
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 1,
        "default_hooks.logger.interval": 1,
    }


@pytest.mark.skipif(
    compat._mmyolo_refuses_mmcv(), reason="this mmyolo refuses to start with this mmcv"
)
@pytest.mark.parametrize("with_block", [False, True])
def test_mmyolo(data_options, tmp_path, with_block):
    block = blocks("README.md", "python")[0] if with_block else None
    name = "yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"
    options = data_options | {
        "model.test_cfg.score_thr": 1e-4,
        "train_cfg.dynamic_intervals": None,
    }
    config = recipe("mmyolo", name, block, tmp_path)
    text = run_tool("mmyolo", config, tmp_path, options)
    assert "coco/bbox_mAP: " in text
    assert ("lambda_bg: " in text) == with_block


@pytest.mark.parametrize("with_block", [False, True])
def test_mmdet(data_options, tmp_path, with_block):
    block = blocks("docs/two_stage.md", "python")[0] if with_block else None
    name = "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
    options = data_options | {
        "model.backbone.init_cfg": None,
        "model.test_cfg.rcnn.score_thr": 0.001,
        "train_dataloader.dataset.pipeline.2.scale": "(128,128)",
        "val_dataloader.dataset.pipeline.1.scale": "(128,128)",
    }
    config = recipe("mmdet", name, block, tmp_path)
    text = run_tool("mmdet", config, tmp_path, options)
    assert "coco/bbox_mAP: " in text
    assert ("rpn_area_weight_mean: " in text) == with_block
