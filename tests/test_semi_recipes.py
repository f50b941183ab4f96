"""The data of the semi-supervised recipes: views, homographies, hidden labels."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner, set_random_seed

from mmareaaware.engine import LossParamSchedulerHook
from tests.boxes import project
from tests.conftest import ROOT

RECIPES = sorted(p.name for p in (ROOT / "configs/semi").glob("*_semi_*.py"))
SUPERVISED = sorted(p.name for p in (ROOT / "configs/semi").glob("*_supervised*.py"))
BRANCHES = ("sup", "unsup_teacher", "unsup_student")
# One of each pipeline; YOLO11 and the penalty have that of YOLOv8
PIPELINES = {
    "digits": "yolov8_n_semi_1xb16-24e_digits.py",
    "crops": "yolov8_n_semi_1xb16-crop256-40e_coco-folder.py",
    "mosaic": "yolov8_s_semi_8xb32-300e_coco-semi.py",
}
SHAPES = [(300, 420), (420, 300), (256, 256), (200, 330), (150, 130), (360, 250)]
BOXES_PER_IMAGE = 7
CLASSES = tuple(f"object {i}" for i in range(len(SHAPES) * BOXES_PER_IMAGE))


@pytest.fixture(autouse=True)
def _places(monkeypatch, digits):
    monkeypatch.setenv("DATA_ROOT", str(digits))


@cache
def load(recipe: str) -> Config:
    return Config.fromfile(ROOT / "configs/semi" / recipe)


def random_boxes(shape, rng) -> np.ndarray:
    """xywh in px, all inside, (G, 4)."""
    corners = np.sort(rng.uniform(0, 1, (BOXES_PER_IMAGE, 2, 2)), axis=1)
    corners = corners * shape[::-1]
    sides = np.maximum(corners[:, 1] - corners[:, 0], 6)
    start = np.minimum(corners[:, 0], np.array(shape[::-1]) - sides)
    return np.concatenate([start, sides], 1)


def write(folder: Path, name: str, boxes_per_image) -> None:
    """A file in COCO format; each object is the only one of its class."""
    annotations = []
    for image, boxes in enumerate(boxes_per_image):
        for box in boxes:
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=image,
                    category_id=len(annotations) % len(CLASSES),
                    bbox=[float(v) for v in box],
                    area=float(box[2] * box[3]),
                    iscrowd=int(len(annotations) % 5 == 0),
                )
            )
    content = dict(
        images=[
            dict(id=i, file_name=f"{i}.png", height=h, width=w)
            for i, (h, w) in enumerate(SHAPES)
        ],
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES)],
    )
    (folder / name).write_text(json.dumps(content))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images that are not square, one smaller than the crops; and their labels."""
    folder = tmp_path_factory.mktemp("semi")
    rng = np.random.default_rng(0)
    for i, shape in enumerate(SHAPES):
        picture = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), picture)
    boxes = [random_boxes(shape, rng) for shape in SHAPES]
    write(folder, "true.json", boxes)
    write(folder, "moved.json", [random_boxes(shape, rng) for shape in SHAPES])
    write(folder, "some.json", [b[: 2 * i] for i, b in enumerate(boxes)])
    write(folder, "degenerate.json", [b * [1, 1, 0, 1] for b in boxes])
    write(folder, "none.json", [[] for _ in SHAPES])
    return folder


def on_images(dataset: dict, images: Path, ann_file: str) -> dict:
    return dict(
        deepcopy(dataset),
        type="YOLOv5CocoDataset",
        data_root=f"{images}/",
        ann_file=ann_file,
        data_prefix=dict(img=""),
        metainfo=dict(classes=CLASSES),
    )


def unlabelled_set(name: str, images: Path, ann_file: str = "true.json"):
    dataset = load(PIPELINES[name]).train_dataloader.dataset.datasets[1]
    return DATASETS.build(on_images(dataset, images, ann_file))


def views(item) -> list:
    return [item["data_samples"][branch] for branch in BRANCHES[1:]]


def by_label(sample) -> dict[int, list[np.ndarray]]:
    """The boxes of a view by their labels, objects and ignored ones.

    More than one where a mosaic has an image twice.
    """
    boxes = {}
    for instances in (sample.gt_instances, sample.ignored_instances):
        for box, label in zip(instances.bboxes.tensor, instances.labels, strict=True):
            boxes.setdefault(int(label), []).append(box.double().numpy())
    return boxes


@pytest.mark.parametrize("name", PIPELINES)
def test_boxes_of_the_weak_view_are_those_of_the_strong_view(name, images):
    dataset = unlabelled_set(name, images)
    num_found = num_weak = 0
    for index in range(len(dataset)):
        for repetition in range(6):
            set_random_seed(10 * index + repetition)
            weak, strong = views(dataset[index])
            to_weak = weak.homography_matrix.astype(np.float64)
            matrix = strong.homography_matrix @ np.linalg.inv(to_weak)
            limits = strong.img_shape[::-1] * 2
            candidates = by_label(weak)
            num_weak += sum(map(len, candidates.values()))
            for label, boxes in by_label(strong).items():
                moved = project(candidates[label], matrix).clip(0, limits)
                for box in boxes:
                    assert np.abs(moved - box).max(1).min() < 1e-3
                    num_found += 1
    # The others are cut off, erased or too small
    assert num_found > max(100, 0.6 * num_weak)


@pytest.mark.parametrize("name", ["digits", "crops"])
def test_homographies_begin_at_the_original_image(name, images):
    dataset = unlabelled_set(name, images)
    content = json.loads((images / "true.json").read_text())
    originals = {a["category_id"]: np.array(a["bbox"]) for a in content["annotations"]}
    checked = 0
    for index in range(len(dataset)):
        set_random_seed(index)
        weak, _ = views(dataset[index])
        assert tuple(weak.ori_shape) == SHAPES[index]
        height, width = weak.img_shape
        for label, (box,) in by_label(weak).items():
            x, y, w, h = originals[label]
            moved = project([x, y, x + w, y + h], weak.homography_matrix)[0]
            expected = moved.clip(0, [width, height] * 2)
            np.testing.assert_allclose(box, expected, rtol=0, atol=1e-3)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", PIPELINES)
def test_hidden_labels_change_no_bit_of_what_is_seen(name, images):
    files = ("true.json", "moved.json", "some.json", "degenerate.json", "none.json")
    seen = []
    for file in files:
        dataset = unlabelled_set(name, images, file)
        assert len(dataset) == len(SHAPES)
        set_random_seed(0)  # once: no label may change how much is drawn
        items = [dataset[i] for i in (*range(len(dataset)), 0, 1)]
        seen.append(
            [
                (item["inputs"][b], item["data_samples"][b].metainfo)
                for item in items
                for b in BRANCHES[1:]
            ]
        )
        num_boxes = sum(len(views(item)[1].gt_instances) for item in items)
        assert (num_boxes > 0) == (file not in ("degenerate.json", "none.json"))
    for other in seen[1:]:
        for (image, meta), (other_image, other_meta) in zip(
            seen[0], other, strict=True
        ):
            assert torch.equal(image, other_image)
            assert meta.keys() == other_meta.keys()
            for key in meta:
                np.testing.assert_array_equal(meta[key], other_meta[key])


@pytest.mark.parametrize("name", PIPELINES)
def test_batches(name, images):
    """What arrives at the detector, through loader and preprocessor."""
    cfg = load(PIPELINES[name])
    loader = deepcopy(cfg.train_dataloader)
    datasets = [on_images(d, images, "true.json") for d in loader.dataset.datasets]
    loader.dataset.datasets = datasets
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    batches = list(Runner.build_dataloader(loader, seed=0))
    assert len(batches) == 3
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    for batch in batches:
        batch = preprocessor(batch, training=True)
        inputs, samples = batch["inputs"], batch["data_samples"]
        assert set(inputs) == set(samples) == set(BRANCHES)
        for branch in BRANCHES:
            assert len(inputs[branch]) == len(samples[branch]) == 2
            assert 0 <= inputs[branch].min() < inputs[branch].max() <= 1
        for weak, strong in zip(*(samples[b] for b in BRANCHES[1:]), strict=True):
            assert weak.img_id == strong.img_id
            assert weak.img_path == strong.img_path
            for view in (weak, strong):
                assert len(view.img_shape) == len(view.ori_shape) == 2
                assert len(view.scale_factor) == 2
                assert view.homography_matrix.shape == (3, 3)
        assert any(len(s.gt_instances) for s in samples["sup"])
        assert any(len(s.ignored_instances) for s in samples["sup"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_padding_is_grey(recipe):
    """The preprocessor pads what is divided already."""
    preprocessor = MODELS.build(load(recipe).model.data_preprocessor.data_preprocessor)
    grey = [torch.full((3, *size), 114, dtype=torch.uint8) for size in SIZES]
    inputs = preprocessor(dict(inputs=grey, data_samples=None))["inputs"]
    assert inputs.shape == (2, 3, 96, 96)
    assert (inputs == inputs[0, 0, 0, 0]).all()


SIZES = [(64, 96), (90, 32)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(recipe):
    cfg = load(recipe)
    labelled, unlabelled = cfg.train_dataloader.dataset.datasets
    assert unlabelled.ann_file != labelled.ann_file
    for dataset in (labelled, unlabelled):
        assert not dataset.filter_cfg.filter_empty_gt
    assert "NoneType" not in str(cfg.model)
    hooks = {hook.get("param", hook.type): hook for hook in cfg.custom_hooks}
    assert len(hooks) == len(cfg.custom_hooks)
    assert not {"EMAHook", "mmdet.PipelineSwitchHook"} & set(hooks)
    assert "mmdet.CheckInvalidLossHook" in hooks
    has_penalty = "student.bbox_head.loss_bg.lambda_bg" in hooks
    assert has_penalty == ("bg-max" in recipe)
    assert has_penalty == (cfg.model.detector.bbox_head.get("loss_bg") is not None)
    assert hooks["lambda_u"].burn_in > 0
    assert hooks["lambda_u"].burn_in + hooks["lambda_u"].warmup < (
        cfg.train_cfg.max_epochs / 2 + 1
    )
    assert cfg.default_hooks.checkpoint.save_best == "coco/bbox_mAP"
    # A constant rate after the warm-up
    if cfg.param_scheduler is None:
        assert cfg.default_hooks.param_scheduler.lr_factor == 1
    else:
        assert [s.type for s in cfg.param_scheduler] == ["LinearLR"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_build(recipe, tmp_path):
    cfg = load(recipe)
    with torch.device("meta"):  # the shapes without the numbers
        model = MODELS.build(cfg.model)
    for network in (model.student, model.teacher):
        kind = type(network.bbox_head.head_module).__name__
        assert ("YOLO11" in kind) == ("yolo11" in recipe)
    num_classes = {"digits": 10, "coco-folder": 10}.get(recipe[:-3].split("_")[-1], 80)
    assert len(model.pseudo_labeller.thresholds.high) == num_classes
    hooks = [HOOKS.build(hook) for hook in cfg.custom_hooks]
    scheduled = [hook for hook in hooks if isinstance(hook, LossParamSchedulerHook)]
    assert len(scheduled) == 1 + ("bg-max" in recipe)
    for hook in scheduled:
        hook.find(model)
        assert hook.max_value > 0
    cfg.dump(tmp_path / "dumped.py")  # as the Runner does, to be loaded again
    assert Config.fromfile(tmp_path / "dumped.py").model == cfg.model


@pytest.mark.parametrize("recipe", SUPERVISED)
@pytest.mark.parametrize(("percent", "times"), [("10", 9), ("1", 99), ("20", 4)])
def test_supervised_recipes_have_the_same_labels(recipe, percent, times, monkeypatch):
    monkeypatch.setenv("PERCENT", percent)
    monkeypatch.setenv("FOLD", "2")
    cfg = Config.fromfile(ROOT / "configs/semi" / recipe)
    dataset = cfg.train_dataloader.dataset
    assert dataset.times == (1 if "epochs" in recipe else times)
    assert dataset.dataset.ann_file.endswith(f".2@{percent}.json")
