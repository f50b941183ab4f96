"""The converter's errors and files; `test_models/test_yolo11.py` says it is right."""

import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT

TOOL = ROOT / "tools/model_converters/ultralytics_to_mmyolo.py"
sys.path.insert(0, str(TOOL.parent))
import ultralytics_to_mmyolo as converter  # noqa: E402

YOLO11 = ROOT / "configs/yolo11/yolo11_n_8xb16-500e_coco.py"
YOLOV8 = ROOT / "configs/yolov8/yolov8_n_area-aware_8xb16-500e_coco.py"
DIGITS = ROOT / "configs/demo/yolo11_n_area-aware_bg-max_1xb8-14e_digits.py"


@pytest.fixture(scope="module")
def model():
    return converter.build(YOLO11)


@pytest.fixture
def source(model):
    return converter.to_ultralytics(model, model)


def run(*arguments):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_names_of_yolov8():
    """Some of Ultralytics' names of YOLOv8, read off its published graph."""
    names = converter.ultralytics_names(list(converter.build(YOLOV8)))
    assert len(set(names.values())) == len(names) == 354
    for ours, theirs in {
        "backbone.stage4.2.conv2.conv.weight": "model.9.cv2.conv.weight",
        "backbone.stage2.1.blocks.1.conv2.bn.bias": "model.4.m.1.cv2.bn.bias",
        "neck.top_down_layers.0.main_conv.conv.weight": "model.12.cv1.conv.weight",
        "neck.top_down_layers.1.final_conv.conv.weight": "model.15.cv2.conv.weight",
        "neck.downsample_layers.0.conv.weight": "model.16.conv.weight",
        "neck.bottom_up_layers.0.main_conv.bn.weight": "model.18.cv1.bn.weight",
        "neck.downsample_layers.1.conv.weight": "model.19.conv.weight",
        "neck.bottom_up_layers.1.main_conv.bn.weight": "model.21.cv1.bn.weight",
        "bbox_head.head_module.reg_preds.2.2.bias": "model.22.cv2.2.2.bias",
    }.items():
        assert names[ours] == theirs


def test_everything_that_does_not_fit_is_listed(model, source):
    del source["model.0.conv.weight"]
    source["model.99.conv.weight"] = torch.zeros(1)
    source["model.1.bn.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match="3 entries do not fit") as error:
        converter.from_ultralytics(source, model, drop_class_branch=True)
    text = str(error.value)
    assert "missing: model.0.conv.weight (backbone.stem.conv.weight)" in text
    assert "unknown: model.99.conv.weight" in text
    assert "misshapen: model.1.bn.bias is (3,)" in text


def test_other_classes_only_on_request(source):
    digits = converter.build(DIGITS)
    with pytest.raises(ValueError, match="--drop-class-branch leaves it out"):
        converter.from_ultralytics(source, digits, drop_class_branch=False)
    result, dropped = converter.from_ultralytics(source, digits, drop_class_branch=True)
    assert {k.split(".")[2] for k in dropped} == {"cls_preds"}
    assert len(result) + len(dropped) == len(digits)
    assert "bbox_head.head_module.cls_preds.0.2.weight" in dropped


def test_reverse_refuses_what_is_not_of_the_model(model):
    with pytest.raises(ValueError, match=r"missing: backbone\.stem\.conv\.weight"):
        converter.to_ultralytics(
            {k: v for k, v in model.items() if k != "backbone.stem.conv.weight"}, model
        )


class Trainer:
    """Something pickled that no tensor is."""


def test_loading(source, tmp_path):
    plain, ema, pickled, empty = (tmp_path / f"{n}.pt" for n in "pexy")
    torch.save(source, plain)
    torch.save(dict(model=None, ema=source, epoch=3), ema)
    torch.save(dict(model=source, trainer=Trainer()), pickled)
    torch.save(dict(epoch=3), empty)
    for path in (plain, ema):
        assert converter.load(path).keys() == source.keys()
    with pytest.warns(UserWarning, match="loading it runs code from the file"):
        assert converter.load(pickled).keys() == source.keys()
    with pytest.raises(ValueError, match="no model in"):
        converter.load(empty)


def test_command_line(model, source, tmp_path):
    theirs, ours, back = (tmp_path / n for n in ("theirs.pt", "ours.pth", "back.pt"))
    torch.save(source, theirs)
    result = run(YOLO11, theirs, ours)
    assert result.returncode == 0, result.stderr
    assert "498 entries written" in result.stdout
    state = torch.load(ours, weights_only=True)["state_dict"]
    assert all(torch.equal(state[k], v) for k, v in model.items())
    assert run(YOLO11, ours, back, "--reverse").returncode == 0
    again = torch.load(back, weights_only=True)
    assert again.keys() == source.keys()
    assert all(torch.equal(again[k], v) for k, v in source.items())

    result = run(YOLOV8, theirs, tmp_path / "wrong.pth")
    assert result.returncode != 0
    assert "error: " in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "wrong.pth").exists()
