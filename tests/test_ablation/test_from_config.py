"""From somebody's config to a grid, and to the config that is the answer."""

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS

from mmareaaware.ablation import Grid, write_grid, write_report
from mmareaaware.ablation.from_config import METRICS

from .conftest import write_run

MINE = """
_base_ = "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"
train_cfg = dict(max_epochs=10)
val_evaluator = dict(ann_file="val.json")
"""
SETTINGS = [
    "box_voting",
    "copy_paste",
    "copy_paste_equal_objects",
    "copy_paste_equal_objects_box_voting",
    "equal_objects",
    "penalty",
    "penalty_box_voting",
    "penalty_strong",
    "penalty_strong_box_voting",
    "power",
]


@pytest.fixture(autouse=True)
def _dump_without_yapf(monkeypatch):
    """It takes seconds to make a dumped config pretty."""
    monkeypatch.setattr(
        "mmengine.config.config.FormatCode", lambda text, **_: (f"{text}\n", True)
    )


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_grid_of_what_goes_on(mine, tmp_path):
    (tmp_path / "start.pth").touch()
    checkpoint = str(tmp_path / "start.pth")
    path, refused = write_grid(mine, tmp_path / "out", [0, 1], checkpoint)
    grid = Grid(path)
    assert refused == {}
    assert list(grid.settings) == ["baseline", *SETTINGS]
    assert grid.metrics == METRICS
    settings = ("baseline", "penalty", "power", "copy_paste_equal_objects")
    baseline, penalty, power, both = (grid.load(name, 0) for name in settings)
    assert baseline.load_from == penalty.load_from == both.load_from == checkpoint
    assert baseline.model == Config.fromfile(mine).model
    assert baseline.test_dataloader == baseline.val_dataloader
    assert [e.type for e in baseline.test_evaluator] == [
        "SizeBinnedCocoMetric",
        "BackgroundFPMetric",
    ]
    assert baseline.test_evaluator[0].ann_file == "val.json"
    assert power.model.bbox_head.loss_cls.area_weight.type == "PowerAreaWeight"
    assert both.model.bbox_head.balance_objects == 0.5
    assert both.train_dataloader.dataset.pipeline[2].type == "SmallObjectCopyPaste"
    voting = grid.load("copy_paste_equal_objects_box_voting", 0)
    assert voting.model.test_cfg.pop("box_voting") == dict(type="BoxVoting")
    assert voting.model == both.model
    assert {name: grid.trained_as(name) for name in SETTINGS if "voting" in name} == {
        "box_voting": "baseline",
        "penalty_box_voting": "penalty",
        "penalty_strong_box_voting": "penalty_strong",
        "copy_paste_equal_objects_box_voting": "copy_paste_equal_objects",
    }
    hook = HOOKS.build(penalty.custom_hooks[-1])
    assert (hook.burn_in, hook.warmup, hook.max_value) == (1, 3, None)
    assert penalty.model.bbox_head.loss_bg.lambda_bg == 5
    strong = grid.load("penalty_strong", 0)
    assert strong.model.bbox_head.loss_bg.lambda_bg == 10


def test_the_answer_is_on_top_of_the_config(mine, tmp_path):
    out = tmp_path / "out"
    path, _ = write_grid(mine, out, [0, 1])
    for seed in (0, 1):
        for setting, alarms in dict(baseline=2.0, penalty=1.0, power=2.0).items():
            metrics = {m.key: 0.3 for m in METRICS}
            metrics["background/bg_fp_per_image_recall0.5"] = alarms + 0.01 * seed
            write_run(out, setting, seed, metrics)
    write_report(Grid(path), out)
    assert "**Take `penalty`**" in (out / "answer.md").read_text()
    text = (out / "best.py").read_text()
    assert '_base_ = "../mine.py"' in text
    assert "switch_on(_base_, bg_penalty=5.0)" in text
    best = Config.fromfile(out / "best.py")
    assert best.model.bbox_head.loss_bg.lambda_bg == 5
    assert best.val_evaluator == Config.fromfile(mine).val_evaluator


def test_options_are_in_the_answer_too(mine, tmp_path):
    options = {"model.bbox_head.loss_cls.loss_weight": 0.7}
    path, _ = write_grid(mine, tmp_path / "out", [0], options=options)
    text = Grid(path).config_text("penalty")
    best = Config.fromstring(text, ".py")
    assert best.model.bbox_head.loss_cls.loss_weight == 0.7


def test_what_cannot_be_is_left_out_with_a_reason(mine, tmp_path):
    mine.write_text('_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"')
    path, refused = write_grid(mine, tmp_path / "out", [0])
    grid = Grid(path)
    assert {*grid.settings, *refused} == {"baseline", *SETTINGS}
    assert refused.keys() == {
        "equal_objects",
        "copy_paste_equal_objects",
        "copy_paste_equal_objects_box_voting",
    }
    assert all("no balance of objects" in reason for reason in refused.values())
    assert grid.load("box_voting", 0).model.bbox_head.type == "AreaAwareRetinaHead"
    assert grid.load("power", 0).model.bbox_head.type == "AreaAwareRetinaHead"


def test_a_config_or_checkpoint_that_does_not_do(mine, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.pth does not exist"):
        write_grid(mine, tmp_path, [0], checkpoint="no.pth")
    mine.write_text(f"{MINE}model = dict(bbox_head=dict(type='MyHead'))")
    path, refused = write_grid(mine, tmp_path, [0])
    assert list(Grid(path).settings) == ["baseline", "copy_paste"]
    assert set(refused) == set(SETTINGS) - {"copy_paste"}
    without_boxes = "train_dataloader = dict(dataset=dict(pipeline=[]))"
    mine.write_text(f"{mine.read_text()}\n{without_boxes}")
    with pytest.raises(ValueError, match=r"nothing can be switched on .*\n.*MyHead"):
        write_grid(mine, tmp_path, [0])
    mine.write_text("model = dict(type='RetinaNet')")
    with pytest.raises(ValueError, match="no val_dataloader, val_evaluator"):
        write_grid(mine, tmp_path, [0])


def test_other_metrics_than_coco_s_are_refused(mine, tmp_path):
    options = {"val_evaluator": dict(type="VOCMetric")}
    with pytest.raises(ValueError, match=r"val_evaluator is VOCMetric, .*CocoMetric"):
        write_grid(mine, tmp_path / "out", [0], options=options)
