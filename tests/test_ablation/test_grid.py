import os

import pytest
from mmengine.config import Config

from mmareaaware.ablation import Grid


def test_a_config_is_its_base_and_the_setting(grid_file, tmp_path):
    grid = Grid(grid_file)
    folder = tmp_path / "out/power/seed1"
    folder.mkdir(parents=True)
    text = grid.config_text("power", 1, folder)
    (folder / "config.py").write_text(text)
    cfg = Config.fromfile(folder / "config.py")
    assert cfg.model == dict(
        head=dict(weight=dict(type="P"), gain=0.5), test_cfg=dict(score_thr=0.1)
    )
    assert cfg.custom_hooks == [dict(type="EMAHook"), dict(type="B", x=1)]
    assert cfg.randomness == dict(seed=1, deterministic=True)
    assert '_base_ = "../../../base.py"' in text
    assert str(tmp_path) not in text
    assert grid.load("power", 1).to_dict() == cfg.to_dict()


def test_settings_without_hooks_and_with_their_own_base(grid_file):
    grid = Grid(grid_file)
    baseline, other = grid.load("baseline", 0), grid.load("other", 0)
    assert baseline.custom_hooks == other.custom_hooks == [dict(type="EMAHook")]
    assert "depth" not in baseline.model
    assert other.model.depth == 3
    assert "base" not in other


def test_hooks_for_a_base_that_has_none(grid_file, tmp_path):
    (tmp_path / "base.py").write_text("model = dict(head=dict(weight=None))")
    assert Grid(grid_file).load("power", 0).custom_hooks == [dict(type="B", x=1)]


def test_a_file_that_a_base_reads_and_that_is_not_there(grid_file, tmp_path):
    (tmp_path / "base.py").write_text("text = open('none.json').read()")
    message = "setting 'power': none.json does not exist.*variable DATA_ROOT"
    with pytest.raises(ValueError, match=message):
        Grid(grid_file).load("power", 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("baseline = 'bsaeline'", "no setting 'bsaeline'; it has baseline, power"),
        ("seeds = []", r"missing: \['seeds'\]"),
        ("settings = dict()", r"missing: \['settings'\]"),
        ("base = 'none.py'", "base of setting 'baseline': .*none.py does not exist"),
        ("settings = {'baseline': dict(), 'a/b': dict()}", "folder, got 'a/b'"),
        (
            "settings = dict(baseline=dict(custom_hooks=[], extra_hooks=[]))",
            "setting 'baseline' has custom_hooks",
        ),
        ("metrics = [dict(key='a', name='b', better='up')]", "got 'up'"),
        ("settings = dict(baseline=dict(tests='b'))", "no setting 'b'; it has"),
        (
            "settings = dict(baseline={}, a=dict(tests='b'), b=dict(tests='baseline'))",
            "'a' tests the networks of 'b', .* write tests='baseline'",
        ),
    ],
    ids=[
        "baseline",
        "seeds",
        "settings",
        "base",
        "name",
        "hooks",
        "metric",
        "tests",
        "tests a test",
    ],
)
def test_a_wrong_grid_says_so(grid_file, lines, message):
    grid_file.write_text(f"{grid_file.read_text()}\n{lines}\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Grid(grid_file)


def test_a_setting_that_does_not_fit_its_base(grid_file):
    grid_file.write_text(grid_file.read_text().replace("_delete_=True, ", ""))
    with pytest.raises(ValueError, match=r"setting 'power': .*_delete_=True"):
        Grid(grid_file).load("power", 0)


OF_FOLDS = """
base = "../base.py"
seeds = [3, 5]
seed_variable = "FOLD"
baseline = "baseline"
metrics = [dict(key="coco/bbox_mAP", name="AP")]
settings = dict(baseline=dict(gain=1))
"""


@pytest.mark.parametrize("before", [None, "7"])
def test_a_base_may_follow_the_seed(grid_file, tmp_path, monkeypatch, before):
    monkeypatch.delenv("FOLD", raising=False)
    if before:
        monkeypatch.setenv("FOLD", before)
    (tmp_path / "base.py").write_text('model = dict(data="train.{{$FOLD:1}}.json")')
    grid_file.write_text(OF_FOLDS)
    grid = Grid(grid_file)
    assert grid.load("baseline", 3).model.data == "train.3.json"
    assert grid.load("baseline", 5).model.data == "train.5.json"
    assert os.environ.get("FOLD") == before
    text = grid.config_text("baseline", 3)
    assert text.startswith("# Setting 'baseline' of grid.py, seed 3, FOLD=3; written")
    assert "FOLD" not in grid.config_text("baseline")  # the answer is for any fold
    assert grid.variables(None) == {}
