import pytest
from mmengine.config import Config

from mmareaaware.config_file import (
    ConfigFileError,
    check_annotations,
    check_start,
    read_config,
)

TEXT = """\
crop_size = (256, 256)
base_lr = 0.01
unused = 5
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="RandomCrop", crop_size=crop_size),
            dict(type="Pad", size=crop_size),
        ]
    )
)
optim_wrapper = dict(optimizer=dict(lr=base_lr))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(TEXT)
    return path


def test_options_that_have_an_effect(config):
    options = {
        "train_dataloader.dataset.pipeline.0.crop_size": (64, 64),
        "optim_wrapper": dict(clip_grad=None),
        "work_dir": "x",
        "model_wrapper_cfg.type": "MMDistributedDataParallel",
    }
    cfg = read_config(config, options)
    assert cfg.train_dataloader.dataset.pipeline[0].crop_size == (64, 64)
    assert cfg.work_dir == "x"
    assert cfg.model_wrapper_cfg.type == "MMDistributedDataParallel"


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("crop_size", r"Set train_dataloader\.dataset\.pipeline\.0\.crop_size, or"),
        ("base_lr", r"Set optim_wrapper\.optimizer\.lr, or change the file"),
        ("unused", "Set what it went into"),
    ],
)
def test_variables_of_the_file_are_refused(config, key, where):
    message = f"--cfg-options {key}=.* has no effect.*{where}"
    with pytest.raises(ConfigFileError, match=message):
        read_config(config, {key: 1})


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigFileError, match=r"none\.py.*DATA_ROOT"):
        read_config(tmp_path / "none.py")


def test_a_recipe(root):
    recipe = root / "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
    read_config(recipe, {"model.test_cfg.score_thr": 0.1, "resume": True})
    with pytest.raises(ConfigFileError, match="has no effect"):
        read_config(recipe, {"data_root": "elsewhere"})


def test_a_recipe_of_another_package(capfd):
    cfg = read_config("mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py")
    assert cfg.model.bbox_head.type == "YOLOv8Head"
    with pytest.raises(ConfigFileError, match="the package mmnone is not installed"):
        read_config("mmnone::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py")
    with pytest.raises(ConfigFileError, match=r"none\.py.* does not exist"):
        read_config("mmyolo::yolov8/none.py")


def test_a_start_that_is_not_there(tmp_path):
    path = tmp_path / "start.pth"
    with pytest.raises(ConfigFileError, match=r"start\.pth' does not .*CHECKPOINT"):
        check_start(dict(load_from=str(path)))
    with pytest.raises(ConfigFileError, match="load_from='' does not"):
        check_start(dict(load_from=""))  # an empty variable of the environment
    path.touch()
    for start in (str(path), "https://example.org/a.pth", None):
        check_start(dict(load_from=start))
    check_start(dict())


def test_annotations_that_are_not_there(tmp_path):
    (tmp_path / "train.json").touch()
    there = dict(type="A", ann_file="train.json", data_root=str(tmp_path))
    absolute = dict(type="A", ann_file=str(tmp_path / "train.json"), data_root="else")
    stored = dict(ann_file="a.json", data_root="s3://data/", backend_args=None)
    client = dict(ann_file="a.json", backend_args=dict(backend="petrel"))
    datasets = [there, absolute, stored, client, dict(there, ann_file="")]
    loader = dict(dataset=dict(type="RepeatDataset", dataset=dict(datasets=datasets)))
    cfg = Config(
        dict(train_dataloader=loader, val_dataloader=None, val_evaluator=[absolute])
    )
    check_start(cfg)
    parts = cfg.train_dataloader.dataset.dataset.datasets
    parts[0].ann_file = "trian.json"
    place = r"train_dataloader\.dataset\.dataset\.datasets\.0\.ann_file='trian\.json'"
    with pytest.raises(ConfigFileError, match=rf"{place}: .* not exist, with data"):
        check_start(cfg)
    check_annotations(cfg, "test_dataloader")
    cfg = dict(test_evaluator=[dict(type="M"), dict(type="M", ann_file="val.json")])
    place = r"test_evaluator\.1\.ann_file='val\.json'"
    with pytest.raises(ConfigFileError, match=rf"{place}: val\.json does not exist$"):
        check_annotations(cfg, "test_evaluator")
