"""The converter as a command; ``test_conversion`` says that it is right."""

import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from tests.conftest import ROOT

TOOL = ROOT / "tools/model_converters/add_p2_level.py"
THREE = ROOT / "configs/yolo11/yolo11_n_8xb16-500e_coco.py"
FOUR = ROOT / "configs/yolo11/yolo11_n-p2_bg-max_8xb16-500e_coco.py"


def build(config, classes: int = 80):
    model = Config.fromfile(config).model
    model.bbox_head.head_module.num_classes = classes
    model.train_cfg.assigner.num_classes = classes
    with DefaultScope.overwrite_default_scope("mmyolo"):
        return MODELS.build(model)


def run(*arguments):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("p2")
    source, target = folder / "three.pth", folder / "new" / "four.pth"
    model = build(THREE)
    # As MMEngine writes it, and in half precision, as weights are handed out
    torch.save(dict(meta=dict(epoch=1), state_dict=model.half().state_dict()), source)
    return target, run(source, "--out", target)


def test_it_loads_and_says_where_every_layer_is_from(converted):
    path, result = converted
    assert result.returncode == 0, result.stderr
    load_checkpoint(build(FOUR), str(path), strict=True)
    lines = result.stdout.splitlines()
    for group, number in (
        ("neck.top_down_layers", 3),
        ("neck.downsample_layers", 3),
        ("neck.bottom_up_layers", 3),
        ("bbox_head.head_module.cls_preds", 4),
        ("bbox_head.head_module.reg_preds", 4),
    ):
        rows = [line.split() for line in lines if line.startswith(group)]
        assert [row[0] for row in rows] == [f"{group}.{i}" for i in range(number)]
        assert sum("initialised:" in row for row in rows) == 1
    state = torch.load(path, weights_only=True)["state_dict"]
    assert f"{len(state)} entries written" in result.stdout


def test_another_number_of_classes(converted, capsys):
    """As the tool says, MMEngine leaves the class branches alone, and nothing else."""
    path, result = converted
    assert "The class branches are for 80 classes" in result.stdout
    model = build(FOUR, classes=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_checkpoint(model, str(path), map_location="cpu")
    state = torch.load(path, weights_only=True)["state_dict"]
    assert "size mismatch" in capsys.readouterr().out
    for key, value in model.state_dict().items():
        if value.shape == state[key].shape:
            assert torch.equal(value, state[key])
        else:
            assert ".cls_preds." in key
            assert torch.equal(value, before[key])


def test_files_that_it_refuses(tmp_path, converted, run_tool):
    target = tmp_path / "x.pth"
    (tmp_path / "text.pth").write_text("some text")
    for source, message in [
        (tmp_path / "text.pth", "is no file of torch.save"),
        (tmp_path / "none.pth", "No such file or directory"),
        (converted[0], "a network of three levels has [0, 1]"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            run_tool("model_converters/add_p2_level.py", source, "--out", target)
        (line,) = str(stopped.value).splitlines()
        assert line.startswith("error: ")
        assert message in line
    assert not target.exists()
