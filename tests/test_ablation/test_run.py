import json
import os
import time

import pytest
from mmengine.config import Config

from mmareaaware.ablation import Grid, Run


@pytest.fixture
def run(grid_file, tmp_path) -> Run:
    return Run(Grid(grid_file), "power", 1, tmp_path / "out")


def prepare(run) -> None:
    run.prepare(Grid(run.grid.path).load(run.setting, run.seed))


def trained_and_tested(run) -> None:
    """What the two tools leave behind."""
    prepare(run)
    cfg = Config.fromfile(run.config)
    for stage in ("train", "test"):
        (run.folder / stage).mkdir()
        cfg.work_dir = str(run.folder / stage)
        cfg.load_from = f"from {stage}"
        cfg.dump(run.folder / stage / "config.py")
    run.metrics.write_text("{}")


def test_the_same_config_again_changes_nothing(run):
    trained_and_tested(run)
    before = run.config.read_text()
    prepare(run)
    assert run.config.read_text() == before
    assert run.metrics.exists()


def test_a_variable_that_no_runner_reads_may_change(run):
    trained_and_tested(run)
    path = run.grid.path.parent / "../base.py"
    path.write_text(path.read_text() + "\nfor_other_recipes = dict(width=2)\n")
    prepare(run)
    path.write_text(path.read_text() + "visualizer = dict(vis_backends=[])\n")
    prepare(run)  # tools/train.py leaves TensorBoard out where there is none
    assert run.metrics.exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "grid.py",
            'type="P"',
            'type="Q"',
            "weight.type='P', and now it is 'Q'",
        ),
        ("grid.py", "x=1", "x=1, y=2", "hooks.1.y=None, and now it is 2"),
        (
            "../base.py",
            "gain=0.5",
            "gain=0.6",
            "head.gain=0.5, and now it is 0.6",
        ),
    ],
    ids=["setting", "hook", "base"],
)
def test_another_training_is_refused(run, file, old, new, message):
    trained_and_tested(run)
    before = run.config.read_text()
    path = run.grid.path.parent / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=f"run power/seed1 .*{message}.*--out"):
        prepare(run)
    assert run.config.read_text() == before
    assert run.metrics.exists()


def test_another_start_is_refused_and_the_name_of_it_noted(run, monkeypatch):
    path = run.grid.path.parent / "../base.py"
    path.write_text(path.read_text() + '\nload_from = "{{$START:}}"\n')
    monkeypatch.setenv("START", "nets/a.pth")
    prepare(run)
    monkeypatch.setenv("START", "nets/b.pth")
    prepare(run)  # nothing is trained yet
    trained_and_tested(run)
    monkeypatch.setenv("START", "nets/c.pth")
    with pytest.raises(ValueError, match=r"load_from='nets/b\.pth', and now .*c\.pth"):
        prepare(run)
    (run.folder / "test/20250101_000000").mkdir()
    (run.folder / "test/20250101_000000/20250101_000000.json").write_text("{}")
    assert run.finish(dict(torch="2"))["environment"]["load_from"] == "b.pth"


@pytest.mark.parametrize(
    ("old", "new"),
    [('type="A"', 'type="A", thr=1'), ("score_thr=0.1", "score_thr=0.2")],
    ids=["evaluator", "test_cfg"],
)
def test_another_evaluation_is_tested_again(run, old, new):
    trained_and_tested(run)
    path = run.grid.path.parent / "../base.py"
    path.write_text(path.read_text().replace(old, new))
    prepare(run)
    assert not run.metrics.exists()


def test_finish(run):
    prepare(run)
    for stamp, value in (("20250101_000000", 0.1), ("20250102_000000", 0.2)):
        (run.folder / "test" / stamp).mkdir(parents=True)
        reported = {
            "coco/bbox_mAP": value,
            "coco/bbox_mAP_l": -1.0,
            "val/segm_mAP_l": -1.0,
            "background/fp": float("nan"),
            "background/change": -1.0,
            "data_time": 0.3,
        }
        path = run.folder / "test" / stamp / f"{stamp}.json"
        path.write_text(json.dumps(reported))
    for stamp, seconds in (("20250101_000000", 60), ("20250102_120000", 5)):
        (run.folder / "train" / stamp).mkdir(parents=True)
        log = run.folder / "train" / stamp / f"{stamp}.log"
        log.touch()
        end = time.mktime(time.strptime(stamp, "%Y%m%d_%H%M%S")) + seconds
        os.utime(log, (end, end))
    content = run.finish(dict(torch="2"))
    assert json.loads(run.metrics.read_text()) == content
    assert content == dict(
        metrics={
            "coco/bbox_mAP": 0.2,  # of the newest test
            "coco/bbox_mAP_l": None,
            "val/segm_mAP_l": None,
            "background/fp": None,
            "background/change": -1,
        },
        train_seconds=65,  # of both starts
        environment=dict(torch="2"),
    )
