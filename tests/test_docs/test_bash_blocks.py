"""Every command of README and pages runs, as pasted, page by page.

In a folder with the data and checkpoints that a reader has. Trainings end before their
first iteration: ``without_training`` says what else is shortened.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from mmareaaware.config_file import read_config
from mmareaaware.conversion.ultralytics_weights import to_ultralytics
from mmareaaware.datasets import write_digits
from tests.pages import NAMES, ROOT, blocks
from tests.processes import run_tool

from .without_training import FEW

SHORTENED = Path(__file__).with_name("without_training.py")
# What a reader puts in place
CONFIG = "mine.py"
THEIRS = dict(CONFIG=CONFIG, CHECKPOINT="mine.pth")
MINE = """
_base_ = "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"
classes = dict(classes=tuple("0123456789"))
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
train = dict(data_root="data/digits/", metainfo=classes)
train.update(ann_file="annotations/train.json", data_prefix=dict(img="train/"))
train_dataloader = dict(dataset=train, **loader)
val = dict(data_root="data/digits/", metainfo=classes)
val.update(ann_file="annotations/val.json", data_prefix=dict(img="val/"))
val_dataloader = test_dataloader = dict(dataset=val, **loader)
val_evaluator = test_evaluator = dict(ann_file="data/digits/annotations/val.json")
model = dict(
    bbox_head=dict(head_module=dict(num_classes=10)),
    train_cfg=dict(assigner=dict(num_classes=10)),
)
"""
YOLOV8 = "configs/yolov8/yolov8_n_8xb16-500e_coco.py"
YOLO11 = "configs/yolo11/yolo11_n_8xb16-500e_coco.py"
COCO = ("person", "bicycle", "car", "motorcycle", "airplane")
COCO += ("bus", "train", "truck", "boat", "traffic light")
# They measure for minutes
BENCHMARKS = "tools/benchmark/"


def commands(name: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The commands of a page, typed into one shell, and the variables they see."""
    exported = {}
    for block in blocks(name, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            exports = words[:1] == ["export"]
            words = words[exports:]
            variables = {}
            while words and re.fullmatch(r"[A-Z_0-9]+=\S*", words[0]):
                key, _, value = words.pop(0).partition("=")
                variables[key] = value
            if exports:
                assert not words, line
                exported |= variables
            elif words:
                yield exported | variables, [filled(word, exported) for word in words]


def filled(word: str, exported: dict[str, str]) -> str:
    word = THEIRS.get(word, word)
    return re.sub(r"\$([A-Z_0-9]+)", lambda match: exported[match[1]], word)


WITH_COMMANDS = [name for name in NAMES if list(commands(name))]


def test_pages_have_commands():
    assert sum(len(list(commands(name))) for name in WITH_COMMANDS) > 40


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """Their config, and networks that have learnt nothing."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / CONFIG).write_text(MINE)
    configs = {"mine.pth": folder / CONFIG, "yolov8n_coco.pth": ROOT / YOLOV8}
    for name, config in configs.items():
        model = MODELS.build(read_config(config).model)
        torch.save(dict(state_dict=model.state_dict(), meta={}), folder / name)
    model = MODELS.build(read_config(ROOT / YOLO11).model)
    torch.save(to_ultralytics(model.state_dict(), model), folder / "yolo11n.pt")
    return folder


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("few_digits")
    write_digits(folder, num_images=FEW)
    return folder


@pytest.fixture
def reader(tmp_path, theirs, few_digits) -> Path:
    """The folder of a reader: the checkout, their data, their checkpoints."""
    for name in ("configs", "tools", "tests", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("path/to/data", "path/to/hit_uav", "data/digits"):
        shutil.copytree(few_digits, tmp_path / folder)
    for name in (CONFIG, "mine.pth", "yolo11n.pt", "path/to/yolov8n_coco.pth"):
        (tmp_path / name).symlink_to(theirs / Path(name).name)
    _write_logs(tmp_path / "work_dirs")
    _write_launchers(tmp_path / "bin")
    _write_coco(tmp_path / "data/coco", few_digits)
    _write_unlabelled(tmp_path / "path/to/data")
    _write_yolo(tmp_path / "path/to/data")
    _write_visdrone(tmp_path / "data/visdrone")
    return tmp_path


def _write_coco(folder: Path, digits: Path) -> None:
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copytree(digits / split, folder / f"{split}2017")
        content = json.loads((digits / f"annotations/{split}.json").read_text())
        for category, name in zip(content["categories"], COCO, strict=True):
            category["name"] = name
        file = folder / f"annotations/instances_{split}2017.json"
        file.write_text(json.dumps(content))


def _write_unlabelled(folder: Path) -> None:
    (folder / "unlabelled").symlink_to("val")
    content = json.loads((folder / "annotations/val.json").read_text())
    content["annotations"] = []
    (folder / "annotations/unlabelled.json").write_text(json.dumps(content))


def _write_yolo(folder: Path) -> None:
    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "images/val/a.png")
    (folder / "labels/val/a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    text = "names: [bird]\ntrain: images/val\nval: images/val\n"
    (folder / "data.yaml").write_text(text)


def _write_visdrone(folder: Path) -> None:
    for kind in ("images", "annotations"):
        (folder / "VisDrone2019-DET-val" / kind).mkdir(parents=True)


def _write_logs(folder: Path) -> None:
    for run in "ab":
        log = folder / run / "20250101_000000/vis_data/scalars.json"
        log.parent.mkdir(parents=True)
        lines = [
            {"loss": 1.0, "iter": 1, "step": 1},
            {"coco/bbox_mAP": 0.5, "step": 1},
        ]
        log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _write_launchers(folder: Path) -> None:
    """In place of those that start several processes: they say what they would."""
    folder.mkdir()
    for name in ("python", "srun"):
        (folder / name).write_text('#!/bin/sh\necho "$@"\n')
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_of(name, reader, monkeypatch):
    for variables, words in commands(name):
        print("$", *words)
        with monkeypatch.context() as patch:
            for key, value in variables.items():
                patch.setenv(key, value)
            run(words, reader)


def run(words: list[str], folder: Path) -> None:
    program, *rest = words
    if program == "make":
        subprocess.run(["make", "-n", *rest], cwd=folder, check=True)
    elif program == "pip":
        check_extras(" ".join(rest))
    elif program.endswith(".sh"):
        check_launched(words, folder)
    elif rest[0] == "-m":
        check_module(*rest[1:])
    elif rest[0].startswith(BENCHMARKS):
        check_options(*rest)
    else:
        assert program == "python"
        result = run_tool([SHORTENED, *rest], cwd=folder)
        assert result.returncode == 0, result.stderr[-5000:]


def check_extras(arguments: str) -> None:
    (extras,) = re.findall(r"\.\[([\w,-]+)\]", arguments)
    pyproject = (ROOT / "pyproject.toml").read_text()
    for extra in extras.split(","):
        assert f"\n{extra} = [" in pyproject


def check_launched(words: list[str], folder: Path) -> None:
    """A launcher gets the tool, the config and how it is launched."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    started = subprocess.run(
        ["bash", *words],
        cwd=folder,
        env=os.environ | dict(PATH=path),
        check=True,
        text=True,
        capture_output=True,
    ).stdout.split()
    (config,) = (word for word in words if word.endswith(".py"))
    place = started.index(config)
    assert started[place - 1] in ("tools/train.py", "tools/test.py")
    assert "--launcher" in started[place:]
    assert (folder / config).exists()


def check_module(module: str, *arguments: str) -> None:
    assert module in ("pytest", "torch.distributed.run", "mmareaaware.check")
    for argument in arguments:
        assert "/" not in argument or (ROOT / argument).exists(), argument


def check_options(script: str, *arguments: str) -> None:
    text = (ROOT / script).read_text()
    for argument in arguments:
        assert not argument.startswith("-") or f'"{argument}"' in text, argument
