"""The tools, in processes of their own."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, RUNNERS
from mmengine.runner import Runner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.processes import run_tool, start_tool

CONFIG = "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
YOLO11 = "configs/demo/yolo11_n_area-aware_bg-max_1xb8-14e_digits.py"
LOGGED = {
    "loss_cls",
    "loss_bg",
    "lambda_bg",
    "bg_penalty_mean",
    "bg_penalty_max",
    "bg_penalty_min",
    "area_weight_mean",
    "num_pos",
}
EVALUATED = {
    "coco/bbox_mAP_50",
    "coco/bbox_recall_50_s",
    "background/fp_per_image_score0.25",
    "background/bg_fp_per_image_recall0.5",
}
# The penalty from the first epoch on, so that everything is in the logs.
PENALTY_AT_ONCE = {"custom_hooks.3.burn_in": 0, "custom_hooks.3.schedule": "constant"}


def command(root, tool, *arguments, **options) -> list[str]:
    options = [f"{k}={v}" for k, v in options.items()]
    return [
        str(root / "tools" / tool),
        *map(str, arguments),
        *(["--cfg-options", *options] if options else []),
    ]


def run(command, **kwargs) -> str:
    return printed(run_tool(command, **kwargs))


def printed(result) -> str:
    assert result.returncode == 0, result.stderr[-5000:]
    return result.stdout + result.stderr


def train_scalars(work_dir) -> list[list[dict]]:
    """The training lines of the JSON log of each run in a work dir, in order."""
    return [
        [
            line
            for line in map(json.loads, path.read_text().splitlines())
            if "loss" in line
        ]
        for path in sorted(work_dir.glob("*/vis_data/scalars.json"))
    ]


def kill_at_checkpoint(command, work_dir, epoch: int = 1) -> None:
    """Start a training, and kill it when it can be resumed after that many epochs."""
    process = start_tool(command)
    deadline = time.time() + 120
    last = work_dir / "last_checkpoint"

    def epochs() -> int:
        text = last.read_text() if last.exists() else ""
        noted = re.search(r"epoch_(\d+)\.pth$", text)  # it is made, and then written
        return int(noted[1]) if noted else 0

    while epochs() < epoch:
        assert process.is_alive()
        assert time.time() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def assert_equal_where_resumed(whole, resumed) -> list[list[dict]]:
    """Every number that is logged after a kill; the lines after each."""
    (expected,) = train_scalars(whole)
    expected = {line["step"]: line for line in expected}
    _, *parts = train_scalars(resumed)
    assert parts[-1][-1]["step"] == max(expected)
    # An epoch has 3 iterations: it went on, and not from the start
    assert all(3 < part[0]["step"] < max(expected) for part in parts)
    for line in chain(*parts):
        for name in line.keys() - {"time", "data_time", "memory"}:
            assert line[name] == expected[line["step"]][name], (name, line["step"])
    return parts


def test_train_and_test(root, tmp_path, demo_options):
    options = {
        **demo_options,
        **PENALTY_AT_ONCE,
        "train_cfg.val_interval": 1,
        "default_hooks.checkpoint.save_best": "coco/bbox_mAP",
    }
    train = command(root, "train.py", root / CONFIG, "--work-dir", tmp_path, **options)
    text = run(train, new=True, cwd=tmp_path)  # from any working directory
    console = next(line for line in text.splitlines() if "Epoch(train)" in line)
    (scalars,) = train_scalars(tmp_path)
    (events,) = tmp_path.rglob("events.out.tfevents*")
    accumulator = EventAccumulator(str(events)).Reload()
    for name in LOGGED:
        assert f"{name}: " in console
        assert all(name in line for line in scalars)
        assert name in accumulator.Tags()["scalars"]
    for name in EVALUATED:
        assert f"{name}: " in text
        assert name in accumulator.Tags()["scalars"]
    assert list(tmp_path.glob("best_coco_bbox_mAP_epoch_*.pth"))

    arguments = [root / CONFIG, tmp_path / "epoch_2.pth", "--work-dir"]
    arguments += [tmp_path / "test", "--json-prefix", tmp_path / "result"]
    test = command(root, "test.py", *arguments, **demo_options)
    text = run(test, new=True)
    assert "background/fp_per_empty_image_score0.25: " in text
    assert (tmp_path / "result.bbox.json").exists()


def test_the_demo(root, tmp_path, demo_options):
    """Its second training goes on from the first, and is what it would be alone."""
    options = demo_options | {"train_cfg.max_epochs": 3}
    penalty = {"custom_hooks.3.burn_in": 2, "custom_hooks.3.schedule": "constant"}

    def train(recipe, name, *arguments, **options):
        config = root / f"configs/demo/yolov8_n_{recipe}_1xb4-6e_digits.py"
        work_dir = tmp_path / name
        arguments = (config, "--work-dir", work_dir, *arguments)
        run(command(root, "train.py", *arguments, **options))
        (lines,) = train_scalars(work_dir)
        return {line["step"]: line for line in lines}

    train("baseline", "without", **options)
    checkpoint = tmp_path / "without/epoch_2.pth"
    resumed = train("bg-max", "with", "--resume", checkpoint, **options, **penalty)
    alone = train("bg-max", "alone", **options, **penalty)
    assert list(resumed) == [7, 8, 9]
    for step, line in resumed.items():
        # Not loss_bg: the log has its mean over 10 iterations, zeros before the penalty
        for name in ("loss_cls", "loss_bbox", "loss_dfl", "bg_penalty_mean"):
            assert line[name] == alone[step][name]
        assert line["loss_bg"] > 0

    folders = (tmp_path / "without", tmp_path / "with")
    text = run(command(root, "demo_report.py", *folders))
    assert "without the penalty" in text
    assert "false alarms on background" in text
    for name, size in (("without_and_with", 100_000), ("losses", 20_000)):
        picture = tmp_path / f"with/report/{name}.png"
        assert f"picture: {picture}" in text
        assert os.path.getsize(picture) > size


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    root, tmp_path, demo_options
):
    demo_options["train_cfg.max_epochs"] = 5

    def train(name, *arguments):
        return command(
            root,
            "train.py",
            root / YOLO11,
            "--work-dir",
            tmp_path / name,
            *arguments,
            **demo_options,
        )

    run(train("whole"))
    kill_at_checkpoint(train("killed"), tmp_path / "killed")
    run(train("killed", "--resume"))
    (lines,) = assert_equal_where_resumed(tmp_path / "whole", tmp_path / "killed")
    assert lines[-1]["step"] == 15
    assert lines[-1]["lambda_bg"] > 0


@pytest.fixture
def start(run_tool, tmp_path, monkeypatch):
    """Calls a tool in this process with a config; the config that the Runner gets."""

    def start(tool, text, *arguments):
        config = tmp_path / "config.py"
        config.write_text(text)
        started = []
        monkeypatch.setattr(
            Runner, "from_cfg", lambda cfg: started.append(cfg) or Mock()
        )
        run_tool(tool, config, *arguments, "--work-dir", tmp_path)
        (cfg,) = started
        return cfg

    return start


@pytest.mark.parametrize("interrupted", [False, True])
def test_resume_falls_back_on_load_from(start, tmp_path, interrupted, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pretrained.pth", "epoch_3.pth"):
        Path(name).touch()
    if interrupted:
        (tmp_path / "last_checkpoint").write_text("epoch_3.pth")
    cfg = start("train.py", 'load_from = "pretrained.pth"', "--resume")
    begins = cfg.load_from, cfg.get("resume", False)
    assert begins == (
        ("epoch_3.pth", True) if interrupted else ("pretrained.pth", False)
    )


def test_resume_where_the_note_of_the_last_checkpoint_was_cut_off(start, tmp_path):
    for age, name in enumerate(["epoch_10.pth", "iter_90.pth", "epoch_9.pth"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "last_checkpoint").touch()
    assert start("train.py", "x = 1", "--resume").load_from.endswith("epoch_10.pth")


def test_a_start_that_is_not_there_ends_with_a_line(start):
    with pytest.raises(SystemExit, match=r"error: load_from='no\.pth' does not"):
        start("train.py", 'load_from = "no.pth"')
    with pytest.raises(SystemExit, match=r"error: load_from='none\.pth' does not"):
        start("train.py", "x = 1", "--resume", "none.pth")


def test_auto_scale_lr(start):
    text = "auto_scale_lr = dict(enable=False, base_batch_size=16)"
    assert start("train.py", text).auto_scale_lr.enable is False
    cfg = start("train.py", text, "--auto-scale-lr")
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    with pytest.raises(SystemExit, match=r"auto_scale_lr=dict\(base_batch_size=16\)"):
        start("train.py", "x = 1", "--auto-scale-lr")


def test_amp_without_a_gpu(start, monkeypatch):
    text = 'optim_wrapper = dict(type="OptimWrapper")'
    monkeypatch.setattr("mmareaaware.config_file.get_device", lambda: "cuda")
    lazy = "from mmengine.optim import OptimWrapper\n" + text.replace('"', "")
    for config in (text, lazy):
        cfg = start("train.py", config, "--amp")
        assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    monkeypatch.setattr("mmareaaware.config_file.get_device", lambda: "cpu")
    set_in_config = text.replace("Opt", "AmpOpt")
    for config, options in ((text, ["--amp"]), (lazy, ["--amp"]), (set_in_config, [])):
        with pytest.raises(SystemExit, match=r"\(--amp sets it\) needs a GPU"):
            start("train.py", config, *options)


def test_another_runner(run_tool, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(RUNNERS, "build", lambda cfg: built.append(cfg) or Mock())
    config = tmp_path / "config.py"
    config.write_text(
        'runner_type = "FlexibleRunner"\nstrategy = dict(type="DeepSpeedStrategy")\n'
        "test_evaluator = []"
    )
    options = ["--cfg-options", "strategy.type=FSDPStrategy"]
    run_tool("train.py", config, "--work-dir", tmp_path, *options)
    run_tool("test.py", config, "none.pth", "--work-dir", tmp_path)
    assert [cfg.runner_type for cfg in built] == ["FlexibleRunner"] * 2
    assert built[0].strategy.type == "FSDPStrategy"


def test_without_tensorboard(start, monkeypatch):
    text = (
        'visualizer = dict(vis_backends=[dict(type="LocalVisBackend"), '
        'dict(type="TensorboardVisBackend")])'
    )

    def backends():
        return [b.type for b in start("train.py", text).visualizer.vis_backends]

    assert backends() == ["LocalVisBackend", "TensorboardVisBackend"]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *a: None if name == "tensorboard" else find_spec(name, *a),
    )
    with pytest.warns(UserWarning, match="pip install tensorboard"):
        assert backends() == ["LocalVisBackend"]


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("train.py", []),
        ("test.py", ["x.pth"]),
        ("browse_predictions.py", [__file__]),
        ("export_onnx.py", ["x.pth", "x.onnx"]),
        ("analysis/get_flops.py", []),
        ("model_converters/ultralytics_to_mmyolo.py", [__file__, "x.pth"]),
    ],
)
def test_a_missing_data_root_is_a_line(root, tmp_path, monkeypatch, tool, more):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "none"))
    recipe = "yolov8_n_baseline_1xb8-crop256-40e_coco-folder.py"
    config = root / "configs/coco_folder" / recipe
    result = run_tool(command(root, tool, config, *more))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (line,) = (x for x in result.stderr.splitlines() if x.startswith("error: "))
    assert str(tmp_path / "none/annotations/train.json") in line
    assert "DATA_ROOT" in line


def test_tta(root, tmp_path, start, demo_options):
    with pytest.raises(SystemExit, match="--tta needs tta_model"):
        start("test.py", "x = 1", "x.pth", "--tta")
    config, checkpoint = root / CONFIG, tmp_path / "untrained.pth"
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(demo_options)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    arguments = [config, checkpoint, "--work-dir", tmp_path / "test"]
    options = demo_options | {"test_dataloader.dataset.indices": 2}
    text = run(command(root, "test.py", *arguments, "--tta", **options))
    assert "coco/bbox_mAP: " in text
    assert "DetTTAModel" in text


def test_command_line_swaps_and_removes_the_area_weight(root, tmp_path, demo_options):
    demo_options["train_cfg.max_epochs"] = 1
    logged = {}
    for weight, option in {
        "step": {"model.bbox_head.loss_cls.area_weight.type": "StepAreaWeight"},
        "none": {"model.bbox_head.loss_cls.area_weight": None},
    }.items():
        work_dir = tmp_path / weight
        run(
            command(
                root,
                "train.py",
                root / CONFIG,
                "--work-dir",
                work_dir,
                **demo_options,
                **option,
            )
        )
        logged[weight] = train_scalars(work_dir)[0][0]
    assert 1.0 < logged["step"]["area_weight_mean"] <= 2.0
    assert "area_weight_mean" not in logged["none"]
    assert logged["step"]["loss_cls"] != logged["none"]["loss_cls"]
    assert logged["step"]["loss_bbox"] == logged["none"]["loss_bbox"]


def test_two_processes_without_a_gpu(root, tmp_path, demo_options, free_port):
    options = [f"{k}={v}" for k, v in {**demo_options, **PENALTY_AT_ONCE}.items()]

    def run_script(name, *arguments) -> str:
        command = [str(root / "tools" / name), *arguments, "--cfg-options", *options]
        kwargs = dict(capture_output=True, text=True, env=environment)
        return printed(subprocess.run(command, **kwargs))

    bin_dir = os.path.dirname(sys.executable)
    environment = os.environ | dict(
        PORT=str(free_port),
        CUDA_VISIBLE_DEVICES="-1",
        PATH=f"{bin_dir}:{os.environ['PATH']}",
    )
    folder = str(tmp_path)
    run_script("dist_train.sh", str(root / YOLO11), "2", "--work-dir", folder)
    (lines,) = train_scalars(tmp_path)
    assert len(lines) == 2 * 2  # 12 images in batches of 2 · 4: 2 iterations an epoch
    assert set(lines[-1]) >= LOGGED

    arguments = [str(root / YOLO11), str(tmp_path / "epoch_2.pth"), "2"]
    text = run_script("dist_test.sh", *arguments, "--work-dir", f"{folder}/test")
    assert "coco/bbox_mAP: " in text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.bbox_head.loss_bg.lambda_bg=-1", "must not be negative, got -1"),
        ("custom_hooks.3.schedule=exp", "got 'exp'"),
        ("custom_hooks.3.param=bbox_head.loss_bgg.lambda_bg", "no module 'loss_bgg'"),
        ("model.bbox_head.loss_cls.area_weight=Step", "got 'Step'"),
    ],
)
def test_a_wrong_config_says_so(root, tmp_path, demo_options, option, message):
    name, value = option.split("=")
    arguments = (root / CONFIG, "--work-dir", tmp_path)
    options = demo_options | {name: value}
    result = run_tool(command(root, "train.py", *arguments, **options))
    assert result.returncode != 0
    assert message in result.stderr[-3000:]
    assert "Epoch(train)" not in result.stdout + result.stderr


def test_switched_on_from_the_command_line(root, tmp_path, demo_options):
    config = root / "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py"
    asked = ["--bg-penalty", "2", "--area-aware", "StepAreaWeight", "--copy-paste"]
    asked += ["--balance-objects", "0.7"]
    options = demo_options | {"train_cfg.max_epochs": 4}
    work_dir = ["--work-dir", tmp_path]
    text = run(command(root, "train.py", config, *asked, *work_dir, **options))
    assert "StepAreaWeight()" in text
    assert "SmallObjectCopyPaste(prob=1.0)" in text
    assert re.search(r"model.bbox_head.balance_objects +│ – +│ 0.7", text)
    (lines,) = train_scalars(tmp_path)
    # 3 + 10 epochs of a recipe are 0 + 1 here
    assert [line["lambda_bg"] for line in lines] == [0] * 3 + [2] * 9
    assert all(line["area_weight_mean"] > 1 for line in lines)


def test_a_switch_that_does_not_go_on_ends_with_a_line(start):
    base = """\
_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
without_file = dict(ann_file="")
train_dataloader = val_dataloader = dict(dataset=without_file)
val_evaluator = without_file
"""
    cfg = start("train.py", base, "--area-aware")
    assert cfg.model.bbox_head.type == "AreaAwareRetinaHead"
    with pytest.raises(SystemExit, match="error: the model has no Batch"):
        start("train.py", base, "--assigner")
    with pytest.raises(SystemExit, match=r"error: area_weight\.type='Power'"):
        start("train.py", base, "--area-aware", "Power")
