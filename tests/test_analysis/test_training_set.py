import json
from collections import Counter

import pytest
import torch
from mmdet.engine.hooks import YOLOXModeSwitchHook
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmareaaware.analysis import (
    TrainingBoxes,
    TrainingSetError,
    boxes_and_labels,
    build_training_set,
    open_config,
    read_training_boxes,
    what_is_not_seen,
)
from tests.conftest import ROOT

CONFIG = ROOT / "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
FOLDER = ROOT / (
    "configs/coco_folder/yolov8_n_area-aware_bg-max_1xb8-crop256-40e_coco-folder.py"
)


@pytest.fixture
def cfg(demo_options):
    return open_config(CONFIG, demo_options)


@pytest.fixture
def annotations(digits) -> dict:
    return json.loads((digits / "annotations/train.json").read_text())


def rows(data: TrainingBoxes) -> list[list[float]]:
    """Boxes with their class, in an order of their own."""
    return sorted(torch.cat([data.boxes, data.labels[:, None]], 1).tolist())


def test_the_boxes_are_those_of_the_generator(cfg, annotations):
    data = read_training_boxes(cfg)
    expected = []
    for annotation in annotations["annotations"]:
        x, y, w, h = annotation["bbox"]
        expected.append([x, y, x + w, y + h, annotation["category_id"]])
    assert rows(data) == sorted(expected)
    assert sorted(data.areas.tolist()) == sorted(
        float(a["area"]) for a in annotations["annotations"]
    )
    per_image = Counter(a["image_id"] for a in annotations["annotations"])
    counts = data.image.bincount(minlength=12).tolist()
    assert sorted(counts) == sorted(per_image[i] for i in range(12))
    assert 0 in counts  # images without boxes are read too
    assert data.input_sizes.tolist() == [[256, 256]] * 12
    assert data.classes == tuple("0123456789")


def test_half_the_size_is_a_quarter_of_the_area(cfg):
    whole = read_training_boxes(cfg)
    resize = dict(type="mmdet.Resize", scale_factor=0.5, keep_ratio=True)
    cfg.train_dataloader.dataset.pipeline.insert(2, resize)
    half = read_training_boxes(cfg)
    assert half.input_sizes.tolist() == [[128, 128]] * 12
    torch.testing.assert_close(half.areas, whole.areas / 4)


def test_the_seed_decides_images_and_augmentation(cfg):
    orders = [read_training_boxes(cfg, seed=s).boxes for s in (0, 1)]
    assert not torch.equal(*orders)  # of all twelve images
    assert torch.equal(*[boxes.sort(0).values for boxes in orders])
    flip = dict(type="mmdet.RandomFlip", prob=0.5)
    cfg.train_dataloader.dataset.pipeline.insert(2, flip)
    data = [read_training_boxes(cfg, num_images=5, seed=s) for s in (0, 0, 1)]
    assert [len(d.input_sizes) for d in data] == [5] * 3
    assert torch.equal(data[0].boxes, data[1].boxes)
    assert rows(data[0]) != rows(data[2])


def test_an_endless_sampler_and_one_of_the_config(cfg):
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=False)
    data = read_training_boxes(cfg, num_images=100)
    assert len(data.input_sizes) == 12
    cfg.train_dataloader.sampler = dict(type="DefaultSampler", shuffle=False)
    assert read_training_boxes(cfg, num_images=3).image.max() <= 2
    assert torch.equal(read_training_boxes(cfg).boxes, data.boxes)


@pytest.mark.parametrize(
    ("wrapper", "times"),
    [
        pytest.param(lambda d: dict(type="RepeatDataset", dataset=d, times=3), 3),
        pytest.param(lambda d: dict(type="ConcatDataset", datasets=[d, d]), 2),
        pytest.param(
            lambda d: dict(
                type="mmdet.MultiImageMixDataset",
                dataset=d | dict(pipeline=d["pipeline"][:-1]),
                pipeline=d["pipeline"][-1:],
            ),
            1,
        ),
    ],
    ids=["repeat", "concat", "mix"],
)
def test_wrapped_data_sets(cfg, wrapper, times):
    plain = read_training_boxes(cfg)
    dataset = cfg.train_dataloader.dataset.to_dict()
    cfg.train_dataloader.dataset = wrapper(dataset)
    data = read_training_boxes(cfg)
    assert rows(data) == sorted(rows(plain) * times)
    assert data.classes == plain.classes


def test_of_labelled_and_unlabelled_images_the_labelled_ones(cfg):
    plain = read_training_boxes(cfg)
    dataset = cfg.train_dataloader.dataset.to_dict()
    *load, pack = dataset["pipeline"]
    branches = dict(type="mmdet.MultiBranch", branch_field=["sup", "unsup_teacher"])
    cfg.train_dataloader.dataset = dict(
        type="ConcatDataset",
        datasets=[
            dict(dataset, pipeline=[*load, dict(branches, **{branch: pack})])
            for branch in ("sup", "unsup_teacher")
        ],
    )
    data = read_training_boxes(cfg)
    assert rows(data) == rows(plain)
    assert len(data.input_sizes) == 12
    cfg.train_dataloader.dataset.datasets.pop(0)
    with pytest.raises(TrainingSetError, match=r"none of the 7 images .* --images"):
        read_training_boxes(cfg, num_images=7)


def test_ignored_boxes_are_left_out(cfg, digits, annotations, tmp_path):
    annotations["annotations"][3]["iscrowd"] = 1
    (tmp_path / "train.json").write_text(json.dumps(annotations))
    number = len(read_training_boxes(cfg).boxes)
    cfg.train_dataloader.dataset.ann_file = str(tmp_path / "train.json")
    assert len(read_training_boxes(cfg).boxes) == number - 1


def test_boxes_at_the_edge():
    boxes = [[0, 5, 9, 9], [5, 0, 9, 9], [5, 5, 40, 9], [5, 5, 9, 20], [1, 1, 39, 19]]
    data = TrainingBoxes(
        torch.tensor(boxes).float(),
        torch.zeros(5),
        torch.ones(5).long(),
        torch.tensor([[99, 99], [20, 40]]),  # height, width
        (),
    )
    assert data.is_cut.tolist() == [True] * 4 + [False]


def test_stock_mmdet_configs_need_no_scope_from_outside(mmdet_config):
    cfg = mmdet_config("retinanet/retinanet_r50_fpn_1x_coco")
    with DefaultScope.overwrite_default_scope("mmengine"):
        data = read_training_boxes(cfg)
    # Images without boxes are filtered, and 256 px become 800
    assert data.input_sizes.tolist() == [[800, 800]] * len(data.input_sizes)
    assert set(range(len(data.input_sizes))) == set(data.image.tolist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ann_file": "nowhere.json"}, r"nowhere\.json does not exist.*ann_file"),
        ({"data_prefix": dict(img="no")}, r"no/\d+\.jpg does not exist.*data_prefix"),
        ({"metainfo": dict(classes=("cat",))}, r"no image.*metainfo\.classes"),
        (
            {"metainfo": dict(classes=("cat",)), "filter_cfg": None},
            r"12 images .* no box.*metainfo\.classes",
        ),
    ],
    ids=["annotations", "images", "all filtered", "no boxes"],
)
def test_names_what_is_missing(mmdet_config, change, message):
    cfg = mmdet_config("retinanet/retinanet_r50_fpn_1x_coco")
    cfg.train_dataloader.dataset.update(change)
    with pytest.raises(TrainingSetError, match=message):
        read_training_boxes(cfg)


def test_the_demo_data_say_how_they_are_made(cfg, tmp_path):
    cfg.train_dataloader.dataset.data_root = f"{tmp_path}/"
    with pytest.raises(TrainingSetError, match=r"make_digits\.py"):
        build_training_set(cfg)


def test_a_config_that_reads_missing_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(TrainingSetError, match=rf"{tmp_path}/.*train\.json.*DATA_ROOT"):
        open_config(FOLDER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None}, r"\.py has no model:"),
        ({"train_dataloader": None}, r"\.py has no train_dataloader:"),
        ({"train_dataloader.sampler": None}, r"has no train_dataloader\.sampler:"),
    ],
    ids=["model", "loader", "sampler"],
)
def test_a_config_without_training(options, message):
    with pytest.raises(TrainingSetError, match=message):
        open_config(CONFIG, options)


def test_a_config_that_does_not_exist():
    with pytest.raises(TrainingSetError, match=r"nothing\.py.* does not exist"):
        open_config("nothing.py")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (dict(inputs=0), "LoadAnnotations"),
        (dict(data_samples=dict(sup=DetDataSample())), "several branches"),
        (
            dict(
                data_samples=DetDataSample(
                    gt_instances=InstanceData(bboxes=torch.zeros(2, 5))
                )
            ),
            r"horizontal.*\(2, 5\)",
        ),
    ],
    ids=["nothing", "branches", "rotated"],
)
def test_items_without_horizontal_boxes(item, message):
    with pytest.raises(TrainingSetError, match=message):
        boxes_and_labels(item)


def test_what_is_not_seen():
    cfg = Config.fromfile(
        ROOT / "configs/yolov8/yolov8_s_area-aware_8xb16-500e_coco.py"
    )
    (note,) = what_is_not_seen(cfg)
    assert "PipelineSwitchHook" in note
    cfg = Config(
        dict(
            model=dict(
                data_preprocessor=dict(
                    batch_augments=[dict(type="BatchSyncRandomResize")]
                )
            )
        )
    )
    (note,) = what_is_not_seen(cfg)
    assert "BatchSyncRandomResize" in note
    hooks = [dict(type=EMAHook), dict(type=YOLOXModeSwitchHook)]  # a lazy config's
    (note,) = what_is_not_seen(Config(dict(model={}, custom_hooks=hooks)))
    assert note == "YOLOXModeSwitchHook changes the pipeline in later epochs"
    assert what_is_not_seen(open_config(CONFIG)) == []
