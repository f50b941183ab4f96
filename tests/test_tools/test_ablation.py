"""A training of seconds, killed and resumed; the rest with tools that train nothing."""

import fcntl
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from mmengine.config import Config

from mmareaaware.ablation import Grid, Run, training
from mmareaaware.environment import num_cores
from tests.conftest import ROOT
from tests.processes import run_tool, start_tool

TOOL = ROOT / "tools/ablation.py"
BASELINE = ROOT / "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py"
GRID = """
base = "base.py"
seeds = [0, 1]
baseline = "baseline"
metrics = [
    dict(key="coco/bbox_mAP", name="AP", scale=100),
    dict(key="no/such", name="none"),
]
"""
POWER = """
weight = dict(_delete_=True, type="PowerAreaWeight")
power = dict(model=dict(bbox_head=dict(loss_cls=dict(area_weight=weight))))
settings = dict(baseline=dict(), power=power)
"""
# Stand-ins for tools/train.py and tools/test.py
TRAIN = """
import os, pathlib, signal, sys, time
config, _, work_dir, *options = sys.argv[1:]
assert options == ["--resume"]
text = pathlib.Path(config).read_text()
with open("started.txt", "a") as file:
    print(pathlib.Path(config).parent, os.environ["OMP_NUM_THREADS"], file=file)
if "broken" in text:
    sys.exit("what went wrong")
deadly = pathlib.Path("deadly")
if deadly.exists() and deadly.read_text() in config:
    deadly.unlink()
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(300)
pathlib.Path(work_dir).mkdir(exist_ok=True)
pathlib.Path(work_dir, "last_checkpoint").write_text("epoch_2.pth")
"""
TEST = """
import json, pathlib, sys
config, checkpoint, _, work_dir = sys.argv[1:]
assert checkpoint == "epoch_2.pth"
folder = pathlib.Path(work_dir, "20250101_000000")
folder.mkdir(parents=True)
text = pathlib.Path(config).read_text().replace(" ", "")
metrics = {"coco/bbox_mAP": 0.25 + ("gain=1" in text)}
(folder / "20250101_000000.json").write_text(json.dumps(metrics))
"""
SETTINGS = """
settings = dict(baseline=dict(), bad=dict(what="broken"), good=dict(gain=1))
"""


@pytest.fixture
def main(tmp_path, monkeypatch, run_tool):
    """The command line, in this process, with tools that take no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(training, "TOOLS", tmp_path / "tools")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/train.py").write_text(TRAIN)
    (tmp_path / "tools/test.py").write_text(TEST)
    (tmp_path / "base.py").write_text("gain = 0")
    (tmp_path / "grid.py").write_text(GRID + SETTINGS)

    def main(*arguments) -> int | str:
        """The exit status, or the message in its place."""
        with pytest.raises(SystemExit) as error:
            run_tool("ablation.py", "grid.py", "--out", "out", *arguments)
        return error.value.code

    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield main
    for number, handler in handlers.items():
        signal.signal(number, handler)


def started(tmp_path) -> list[str]:
    """The runs that were trained, in order, and the threads that they got."""
    path = tmp_path / "started.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.removeprefix("out/") for line in lines]


def test_a_failing_run_is_reported_and_the_others_finish(main, tmp_path, capsys):
    cores = num_cores()
    assert main() == 1
    text = capsys.readouterr().out
    assert started(tmp_path) == [  # seed by seed
        f"{setting}/seed{seed} {cores}"
        for seed in (0, 1)
        for setting in ("baseline", "bad", "good")
    ]
    assert "6 runs, 0 of them finished before" in text
    assert "bad/seed0 failed: train.py ended with 1:\nwhat went wrong\n" in text
    assert "baseline/seed1 done: AP 25.00" in text
    assert "5 of 6 runs, about 0:0" in text
    assert "2 failed: bad/seed0, bad/seed1" in text
    results = json.loads((tmp_path / "out/results.json").read_text())
    finished = [(run["setting"], run["seed"]) for run in results["runs"]]
    assert finished == [("baseline", 0), ("baseline", 1), ("good", 0), ("good", 1)]
    assert results["environments"][0]["threads"] == cores
    assert "| good | **+100.00 " in (tmp_path / "out/table.md").read_text()

    # Again: what failed is tried again, what is finished is not
    assert main("--seeds", "1") == 1
    assert started(tmp_path) == [f"bad/seed1 {cores}"]
    assert "3 runs, 2 of them finished before" in capsys.readouterr().out


def test_a_setting_that_tests_the_networks_of_another(main, tmp_path, capsys):
    """Each is trained once, whatever asks for it, and tested with both configs."""
    settings = "settings = dict(twice=dict(tests='baseline', gain=1), baseline=dict())"
    (tmp_path / "grid.py").write_text(GRID + settings)
    assert main("--settings", "twice", "--seeds", "0") == 0
    assert [line.split()[0] for line in started(tmp_path)] == ["baseline/seed0"]
    assert not (tmp_path / "out/baseline/seed0/metrics.json").exists()

    assert main("--jobs", "2") == 0
    trained = sorted(line.split()[0] for line in started(tmp_path))
    assert trained == ["baseline/seed0", "baseline/seed1"]  # the first goes on
    table = (tmp_path / "out/table.md").read_text()
    assert "| twice | **+100.00 " in table

    # Where the network has gone, or never was
    (tmp_path / "out/baseline/seed1/train/last_checkpoint").unlink()
    (tmp_path / "out/twice/seed1/metrics.json").unlink()
    assert main() == 1
    assert "there is no checkpoint of baseline/seed1" in capsys.readouterr().out
    assert not started(tmp_path)


def test_choices(main, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    chosen = ("--settings", "good", "baseline", "good", "--seeds", "5")
    assert main(*chosen, "--jobs", "3") == 0
    assert sorted(started(tmp_path)) == ["baseline/seed5 7", "good/seed5 7"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert main("--settings", "good", "--jobs", "64") == 0
    assert sorted(started(tmp_path)) == ["good/seed0 1", "good/seed1 1"]
    # The report has what an earlier command left
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["seeds"] == [0, 1, 5]


def test_a_variable_that_is_the_seed(main, tmp_path, monkeypatch):
    monkeypatch.setenv("FOLD", "9")
    grid = tmp_path / "grid.py"
    grid.write_text(f"{grid.read_text()}\nseed_variable = 'FOLD'")
    (tmp_path / "base.py").write_text("train_cfg = 'fold {{$FOLD:1}}'")
    for tool, text in dict(train=TRAIN, test=TEST).items():
        note = f"open('folds.txt', 'a').write(' {tool} ' + os.environ['FOLD'])"
        (tmp_path / f"tools/{tool}.py").write_text(f"{text}\nimport os\n{note}\n")
    assert main("--settings", "good") == 0
    assert (tmp_path / "folds.txt").read_text() == " train 0 test 0 train 1 test 1"
    for seed in (0, 1):  # what the runner keeps is that of the seed
        kept = tmp_path / f"out/good/seed{seed}/train/config.py"
        kept.write_text(f"train_cfg='fold {seed}'\nrandomness=dict(seed={seed})")
    assert main("--settings", "good") == 0
    kept.write_text(kept.read_text().replace("fold 1", "fold 2"))
    assert "train_cfg='fold 2', and now it is 'fold 1'" in main("--settings", "good")


def test_report_only(main, tmp_path, run_tool):
    assert "no run of grid.py is finished in out" in main("--report-only")
    assert main("--settings", "good", "--seeds", "0") == 0
    (tmp_path / "out/table.md").unlink()
    started(tmp_path)
    chosen = ("--settings", "good", "--seeds", "0")
    run_tool("ablation.py", "grid.py", "--out", "out", *chosen, "--report-only")
    assert (tmp_path / "out/table.md").exists()
    assert not started(tmp_path)


def test_another_config_in_the_folder_of_a_run_is_refused(main, tmp_path):
    assert main("--settings", "good") == 0
    kept = [tmp_path / f"out/good/seed{seed}/train/config.py" for seed in (0, 1)]
    for seed, path in enumerate(kept):  # as the runner would have
        path.write_text(f"gain = 1\nrandomness = dict(seed={seed})")
    started(tmp_path)
    assert main("--settings", "good") == 0
    kept[1].write_text("randomness = dict(seed=5)")
    message = main("--settings", "baseline", "good")
    assert "error: run good/seed1 was started with randomness.seed=5" in message
    assert "delete out/good/seed1 to train it anew" in message
    assert not started(tmp_path)  # not even the runs before it


def test_a_start_that_is_not_there_is_named_before_anything_is_trained(main, tmp_path):
    settings = 'settings = dict(baseline=dict(), p2=dict(load_from="p2.pth"))'
    (tmp_path / "grid.py").write_text(f"{GRID}\n{settings}")
    message = main()
    assert "error: setting p2: load_from='p2.pth' does not exist" in message
    assert "add_p2_level.py" in message
    assert not started(tmp_path)
    (tmp_path / "p2.pth").touch()
    assert main() == 0


def test_unknown_setting(main):
    message = main("--settings", "godo")
    assert "no setting 'godo'; it has baseline, bad, good" in message


def test_a_folder_in_use_is_refused(main, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "out is in use" in main()
    assert not started(tmp_path)


def test_a_folder_is_in_use_as_long_as_a_training_that_was_started(main, tmp_path):
    (tmp_path / "tools/train.py").write_text(
        "import time\nopen('begun', 'w')\ntime.sleep(300)"
    )
    run = Run(Grid("grid.py"), "good", 0, tmp_path / "out")
    run.folder.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool:
        with training.locked(run.out) as lock_file:
            trainer = training.Trainer(1, lock_file)
            future = pool.submit(trainer, run)
            while not (tmp_path / "begun").exists():
                assert not future.done(), future.exception()
                time.sleep(0.01)
        # As if the tool had been killed, and not what it had started
        assert "out is in use" in main()
        trainer.stop()
        with pytest.raises(training.RunFailedError, match=r"train.py ended with -15"):
            future.result()
    with training.locked(run.out):
        pass


def test_a_stopped_grid_goes_on(main, tmp_path, capsys):
    (tmp_path / "deadly").write_text("good/seed0")
    start = time.time()
    assert main("--settings", "baseline", "good") == 128 + signal.SIGTERM
    assert time.time() - start < 200  # it did not wait for what it had started
    printed = capsys.readouterr().out
    assert "stopped; the same command goes on from here" in printed
    assert len(started(tmp_path)) == printed.count(" starts, ") == 2
    assert [p.parent.name for p in tmp_path.rglob("metrics.json")] == ["seed0"]
    assert main("--settings", "baseline", "good") == 0
    again = [line.split()[0] for line in started(tmp_path)]
    assert again == ["good/seed0", "baseline/seed1", "good/seed1"]
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert len(results["runs"]) == 4


def test_one_thread_reads_configs(main, monkeypatch):
    """MMEngine loads a module anew for each: two at once fail, now and then."""
    readers = set()
    fromfile = Config.fromfile

    def recorded(*args, **kwargs):
        readers.add(threading.current_thread())
        return fromfile(*args, **kwargs)

    monkeypatch.setattr(Config, "fromfile", recorded)
    assert main("--settings", "baseline", "good", "--jobs", "2") == 0
    assert readers == {threading.main_thread()}


def test_a_signal_that_comes_while_an_object_is_freed(main, monkeypatch):
    """Python drops what a handler raises there."""

    class Freed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(training, "summary", lambda *_: str(Freed()))
    assert main("--settings", "baseline", "good") == 128 + signal.SIGTERM


def test_a_killed_training_goes_on(tmp_path, demo_options):
    cfg = Config.fromfile(BASELINE)
    cfg.merge_from_dict(demo_options)
    cfg.dump(tmp_path / "base.py")
    (tmp_path / "grid.py").write_text(GRID + POWER)
    out = tmp_path / "out"
    command = [TOOL, tmp_path / "grid.py", "--out", out]
    command += ["--seeds", "3", "--settings", "power"]

    process = start_tool(command)
    deadline = time.time() + 300
    while not (out / "power/seed3/train/last_checkpoint").exists():
        assert process.is_alive()
        assert time.time() < deadline
        time.sleep(0.1)
    process.terminate()
    process.join(timeout=60)
    assert process.exitcode == 128 + signal.SIGTERM
    with (out / ".lock").open() as file:  # nothing that it started is left
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not list(out.rglob("metrics.json"))

    result = run_tool(command)
    assert result.returncode == 0, result.stderr
    assert len(list(out.glob("power/seed3/train/*/*.log"))) == 2
    assert "resumed epoch: " in (out / "power/seed3/log.txt").read_text()
    results = json.loads((out / "results.json").read_text())
    (run,) = results["runs"]
    assert run["metrics"]["coco/bbox_mAP"] >= 0
    assert run["train_seconds"] > 0
    trained = Config.fromfile(out / "power/seed3/train/config.py")
    assert trained.randomness.seed == 3
    assert trained.model.bbox_head.loss_cls.area_weight.type == "PowerAreaWeight"
    assert "| power | 1 |" in (out / "table.md").read_text()


def test_from_a_config_to_an_answer(tmp_path, main, run_tool, capsys):
    (tmp_path / "mine.py").write_text(
        '_base_ = "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"'
    )
    (tmp_path / "start.pth").touch()
    annotations = tmp_path / "data/coco/annotations"
    annotations.mkdir(parents=True)
    for split in ("train", "val"):
        (annotations / f"instances_{split}2017.json").touch()
    found = '"gain=1" in text'
    helps = '"bg_penalty=5.0" in pathlib.Path(config).read_text()'
    text = TEST.replace("coco/bbox_mAP", "coco/bbox_mAP_s").replace(found, helps)
    (tmp_path / "tools/test.py").write_text(text)
    asked = ("--config", "mine.py", "--checkpoint", "start.pth", "--seeds", "0", "1")
    with pytest.raises(SystemExit) as end:
        run_tool("ablation.py", *asked, "--out", "mine")
    assert end.value.code == 0
    assert "**Take `penalty`**: the config is `best.py`" in capsys.readouterr().out
    best = Config.fromfile(tmp_path / "mine/best.py")
    assert best.model.bbox_head.loss_bg.lambda_bg == 5
    assert best.load_from == str(tmp_path / "start.pth")
    with pytest.raises(SystemExit):
        run_tool("ablation.py", "--out", "mine")
    assert "give a grid, or --config" in capsys.readouterr().err
