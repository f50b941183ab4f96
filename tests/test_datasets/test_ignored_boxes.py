"""Ignored boxes from a file in COCO format to the loss.

The pictures say where the boxes have to be: objects are red, ignored regions are green.
"""

import json
from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, TRANSFORMS
from mmengine.runner import Runner, set_random_seed
from mmengine.structures import InstanceData
from mmyolo.datasets import yolov5_collate

from mmareaaware.datasets import IgnoreAwareRandomAffine, ignore_aware

WIDTH, HEIGHT = 320, 240
NUM_IMAGES = 8
OBJECT, REGION = 0, 1  # the labels of the two kinds, so that a flag can be checked
# In OpenCV's order. (Not blue, as LetterResize pads the stock recipes' pictures.)
RED, GREEN = (40, 40, 230), (40, 230, 40)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A data set of a large ignored region and three small objects an image."""
    root = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(NUM_IMAGES):
        picture = np.full((HEIGHT, WIDTH, 3), 114, np.uint8)
        width, height = rng.integers(90, 150), rng.integers(140, 220)
        boxes = [(int(rng.integers(0, 10)), int(rng.integers(0, 20)), width, height)]
        boxes += [(int(x), int(rng.integers(0, 190)), 30, 36) for x in (165, 215, 270)]
        for k, (x, y, w, h) in enumerate(boxes):
            picture[y : y + h, x : x + w] = RED if k else GREEN
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=OBJECT if k else REGION,
                    bbox=[x, y, int(w), int(h)],
                    area=int(w * h),
                    iscrowd=int(k == 0),
                )
            )
        cv2.imwrite(str(root / f"{i}.png"), picture)
        images.append(dict(id=i, file_name=f"{i}.png", width=WIDTH, height=HEIGHT))
    categories = [dict(id=OBJECT, name="object"), dict(id=REGION, name="region")]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / "train.json").write_text(json.dumps(content))
    return root


def dataset_config(coco, pipeline) -> dict:
    return dict(
        type="YOLOv5CocoDataset",
        data_root=f"{coco}/",
        ann_file="train.json",
        data_prefix=dict(img=""),
        metainfo=dict(classes=("object", "region")),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=pipeline,
    )


def stock(size: str):
    return get_config(f"mmyolo::yolov8/yolov8_{size}_syncbn_fast_8xb16-500e_coco.py")


def pipelines() -> dict[str, list]:
    """The training pipelines of the stock recipes, and crops as in coco_folder."""
    n, m = stock("n"), stock("m")
    crops = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="mmdet.RandomCrop", crop_size=(160, 160), allow_negative_crop=True),
        dict(type="mmdet.Pad", size=(160, 160), pad_val=dict(img=(114, 114, 114))),
        dict(type="YOLOv5HSVRandomAug"),
        dict(type="mmdet.RandomFlip", prob=0.5),
        dict(type="mmdet.PackDetInputs"),
    ]
    return {
        "mosaic": n.train_pipeline,
        "letterbox": n.train_pipeline_stage2,
        "mosaic and mixup": m.train_pipeline,
        "crops": crops,
    }


def build(coco, pipeline):
    return DATASETS.build(dataset_config(coco, ignore_aware(pipeline)))


def seed(number: int) -> None:
    set_random_seed(number)


def painted(picture: torch.Tensor, channel: int) -> np.ndarray:
    """Where (H, W) a picture (3, H, W) has that colour: 1 for green, 2 for red."""
    others = [c for c in range(3) if c != channel]
    picture = picture.float()
    return (picture[channel] - picture[others].amax(0) > 40).numpy()


def inside(boxes: torch.Tensor, shape) -> np.ndarray:
    """Where (H, W) there are boxes."""
    mask = np.zeros(shape, np.uint8)
    for x1, y1, x2, y2 in boxes.round().int().tolist():
        mask[y1:y2, x1:x2] = 1
    return mask > 0


def shrunk(mask: np.ndarray, by: int = 3) -> np.ndarray:
    size = 2 * by + 1
    return cv2.erode(mask.astype(np.uint8), np.ones((size, size))) > 0


@pytest.mark.parametrize("name", ["mosaic", "letterbox", "crops"])
def test_ignored_boxes_are_where_the_picture_is_green(coco, name):
    pipeline = pipelines()[name]
    for transform in pipeline:
        if transform["type"] == "mmdet.Albu":
            transform["transforms"] = []  # one of them turns some pictures grey
    dataset = build(coco, pipeline)
    num_pixels = []
    for index in range(NUM_IMAGES):
        for repetition in range(4):
            seed(10 * index + repetition)
            item = dataset[index]
            sample, picture = item["data_samples"], item["inputs"]
            ignored = inside(sample.ignored_instances.bboxes.tensor, picture.shape[1:])
            green = painted(picture, 1)
            # All that is left of a region is ignored, and nothing else
            assert not (shrunk(green) & ~ignored).any()
            assert not (shrunk(ignored) & ~green).any()
            objects = inside(sample.gt_instances.bboxes.tensor, picture.shape[1:])
            assert not (shrunk(objects) & ~painted(picture, 2)).any()
            assert (sample.gt_instances.labels == OBJECT).all()
            assert (sample.ignored_instances.labels == REGION).all()
            num_pixels.append(ignored.sum())
    assert max(num_pixels) > 5000


@pytest.mark.parametrize("name", list(pipelines()))
def test_every_transform_keeps_boxes_labels_and_flags_in_step(coco, name):
    pipeline = ignore_aware(pipelines()[name])
    for transform in pipeline:
        if "prob" in transform:
            transform["prob"] = 1.0  # MixUp, flip
    steps = [TRANSFORMS.build(t) for t in pipeline[:-1]]  # without packing
    dataset = build(coco, pipelines()[name])
    num_flagged = 0
    for index in range(NUM_IMAGES):
        seed(index)
        results = dict(dataset.get_data_info(index), dataset=dataset)
        for step in steps:
            results = step(results)
            if "gt_ignore_flags" in results:
                flags = results["gt_ignore_flags"]
                labels = results["gt_bboxes_labels"]
                assert len(results["gt_bboxes"]) == len(labels) == len(flags)
                assert (flags == (labels == REGION)).all(), type(step).__name__
                num_flagged += flags.sum()
        assert flags.dtype == bool
    assert num_flagged


def test_stock_pipelines_drop_them(coco):
    """What this is for: should MMYOLO keep them one day, this file can go."""
    dataset = DATASETS.build(dataset_config(coco, pipelines()["letterbox"]))
    assert not len(dataset[0]["data_samples"].ignored_instances)


def test_an_image_of_a_crowd_alone_is_kept(coco, tmp_path):
    """Empty images may be filtered out; this one has something to say."""
    content = json.loads((coco / "train.json").read_text())
    content["annotations"] = [
        a
        for a in content["annotations"]
        if a["image_id"] > 1 or (a["image_id"] == 0 and a["iscrowd"])
    ]
    (tmp_path / "train.json").write_text(json.dumps(content))
    cfg = dataset_config(coco, ignore_aware(pipelines()["letterbox"]))
    dataset = DATASETS.build(cfg | dict(ann_file=str(tmp_path / "train.json")))
    assert len(dataset) == NUM_IMAGES - 1  # the second has no annotation
    sample = dataset[0]["data_samples"]
    assert len(sample.gt_instances) == 0
    assert len(sample.ignored_instances) == 1


def test_without_ignored_boxes_the_pipelines_are_those_of_mmyolo(coco, tmp_path):
    content = json.loads((coco / "train.json").read_text())
    content["annotations"] = [a for a in content["annotations"] if not a["iscrowd"]]
    (tmp_path / "train.json").write_text(json.dumps(content))
    for pipeline in pipelines().values():
        items = []
        for kind in (pipeline, ignore_aware(pipeline)):
            cfg = dataset_config(coco, kind)
            cfg["ann_file"] = str(tmp_path / "train.json")
            dataset = DATASETS.build(cfg)
            seed(3)
            items.append(dataset[3])
        ours, theirs = (item["data_samples"].gt_instances for item in items)
        assert torch.equal(items[0]["inputs"], items[1]["inputs"])
        assert torch.equal(ours.bboxes.tensor, theirs.bboxes.tensor)
        assert torch.equal(ours.labels, theirs.labels)


@pytest.mark.parametrize(
    ("box", "is_ignored", "is_kept"),
    [
        # 5 % of it are left in the picture
        ((95, 0, 195, 100), True, True),
        ((95, 0, 195, 100), False, False),
        # nothing is left of it
        ((101, 0, 120, 100), True, False),
        ((20, 20, 60, 60), False, True),
        ((20, 20, 60, 60), True, True),
    ],
)
def test_affine_keeps_what_is_left_of_an_ignored_box(box, is_ignored, is_kept):
    affine = IgnoreAwareRandomAffine(
        max_rotate_degree=0,
        max_shear_degree=0,
        max_translate_ratio=0,
        scaling_ratio_range=(1, 1),
    )
    results = affine(
        dict(
            img=np.zeros((100, 100, 3), np.uint8),
            gt_bboxes=HorizontalBoxes(torch.tensor([box]).float()),
            gt_bboxes_labels=np.array([1]),
            gt_ignore_flags=np.array([is_ignored]),
        )
    )
    assert len(results["gt_bboxes"]) == len(results["gt_ignore_flags"]) == is_kept
    assert len(results["gt_bboxes_labels"]) == is_kept
    if is_kept:
        expected = torch.tensor([box]).float().clamp(0, 100)
        torch.testing.assert_close(results["gt_bboxes"].tensor, expected)


def test_affine_without_clipping_is_refused():
    with pytest.raises(ValueError, match="bbox_clip_border=True, got False"):
        IgnoreAwareRandomAffine(bbox_clip_border=False)


@pytest.mark.parametrize("masks", ["with_mask", "mask2bbox"])
def test_where_masks_are_read_the_loader_stays(masks):
    loader = dict(type="LoadAnnotations", with_bbox=True, **{masks: True})
    assert ignore_aware([loader]) == [loader]
    loader[masks] = False
    assert ignore_aware([loader])[0]["type"] == "mmdet.LoadAnnotations"


def test_ignore_aware_reaches_every_pipeline():
    cfg = stock("m")
    before = deepcopy(cfg)
    for part in ("train_pipeline", "custom_hooks"):
        text = str(ignore_aware(cfg[part]))
        assert "'LoadAnnotations'" not in text
        assert "'YOLOv5RandomAffine'" not in text
        assert text.count("'mmdet.LoadAnnotations'") == text.count(
            "'LoadImageFromFile'"
        )
        assert "'IgnoreAwareRandomAffine'" in text
    # Inside of MixUp there is a Mosaic with a pipeline inside
    inner = ignore_aware(cfg.train_pipeline)[4].pre_transform
    assert inner[2].pre_transform[1].type == "mmdet.LoadAnnotations"
    assert cfg.to_dict() == before.to_dict()


def packed(boxes, ignored=None, size: int = 64) -> dict:
    """An item of a data set."""
    sample = DetDataSample()
    for name, values in (("gt_instances", boxes), ("ignored_instances", ignored)):
        if values is not None:
            tensor = torch.tensor(values).float().reshape(-1, 4)
            labels = torch.arange(len(tensor))
            instances = InstanceData(bboxes=HorizontalBoxes(tensor), labels=labels)
            setattr(sample, name, instances)
    inputs = torch.randint(0, 255, (3, size, size), dtype=torch.uint8)
    return dict(inputs=inputs, data_samples=sample)


@pytest.fixture
def items() -> list[dict]:
    """Three images: with both kinds of boxes, with none, with ignored ones alone."""
    return [
        packed([[1, 2, 3, 4], [5, 6, 7, 8]], [[9, 10, 11, 12]]),
        packed([], []),
        packed([], [[13, 14, 15, 16], [17, 18, 19, 20]]),
    ]


def collate(items, **kwargs):
    return FUNCTIONS.get("ignore_aware_collate")(items, **kwargs)


def test_collate(items):
    batch = collate(items)
    expected = [
        [0, 9, 10, 11, 12],
        [2, 13, 14, 15, 16],
        [2, 17, 18, 19, 20],
    ]
    assert batch["data_samples"]["bboxes_ignored"].tolist() == expected
    stock_batch = yolov5_collate(items)
    assert torch.equal(batch["inputs"], stock_batch["inputs"])
    assert batch["data_samples"].keys() - stock_batch["data_samples"].keys() == {
        "bboxes_ignored"
    }
    for key, value in stock_batch["data_samples"].items():
        assert torch.equal(batch["data_samples"][key], value)


def test_collate_of_images_to_be_resized_each(items):
    batch = collate(items, use_ms_training=True)
    assert [image.shape for image in batch["inputs"]] == [(3, 64, 64)] * 3


@pytest.mark.parametrize("ignored", [None, []])
def test_collate_without_ignored_boxes(ignored):
    samples = collate([packed([[1, 2, 3, 4]], ignored)] * 2)["data_samples"]
    assert samples["bboxes_ignored"].shape == (0, 5)
    assert samples["bboxes_ignored"].dtype == samples["bboxes_labels"].dtype


def preprocessor(type="IgnoreAwareDetDataPreprocessor", **options):
    cfg = dict(type=type, mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=True)
    return MODELS.build(cfg | options)


def test_preprocessor_hands_them_on(items, device):
    batch = collate(items)
    output, expected = (
        preprocessor(type).to(device)(deepcopy(batch), training=True)
        for type in ("IgnoreAwareDetDataPreprocessor", "YOLOv5DetDataPreprocessor")
    )
    assert torch.equal(output["inputs"], expected["inputs"])
    samples, stock_samples = output["data_samples"], expected["data_samples"]
    ignored = batch["data_samples"]["bboxes_ignored"].to(device)
    assert torch.equal(samples["bboxes_ignored"], ignored)
    assert torch.equal(samples["bboxes_labels"], stock_samples["bboxes_labels"])
    assert samples["img_metas"] == stock_samples["img_metas"]
    assert samples.keys() - stock_samples.keys() == {"bboxes_ignored"}


def test_preprocessor_in_testing_is_that_of_mmyolo():
    data = dict(
        inputs=[torch.zeros(3, 32, 32, dtype=torch.uint8)],
        data_samples=[DetDataSample(metainfo=dict(img_shape=(32, 32)))],
    )
    assert preprocessor()(data)["inputs"].shape == (1, 3, 32, 32)


def test_batch_augments_resize_them_too(items):
    resize = dict(type="YOLOXBatchSyncRandomResize", random_size_range=(96, 96))
    processor = preprocessor(batch_augments=[resize])
    processor.batch_augments[0]._input_size = (96, 128)
    MessageHub.get_current_instance().update_info("iter", 0)
    batch = collate(items)
    samples = processor(deepcopy(batch), training=True)["data_samples"]
    scale = torch.tensor([1, 2.0, 1.5, 2.0, 1.5])
    before = batch["data_samples"]["bboxes_ignored"]
    assert torch.equal(samples["bboxes_ignored"], before * scale)
    boxes = batch["data_samples"]["bboxes_labels"][:, 1:] * scale
    assert torch.equal(samples["bboxes_labels"][:, 1:], boxes)


def test_they_pass_the_preprocessor_of_ppyoloe(items):
    """Which resizes each image before it normalises it."""
    size = dict(random_size_range=(96, 96), interp_mode="nearest", random_interp=False)
    options = dict(batch_augments=[dict(type="PPYOLOEBatchRandomResize", **size)])
    MessageHub.get_current_instance().update_info("iter", 0)
    batch = collate(items, use_ms_training=True)
    results = []
    for type in (
        "IgnoreAwarePPYOLOEDetDataPreprocessor",
        "PPYOLOEDetDataPreprocessor",
    ):
        processor = preprocessor(type, **options)
        processor.batch_augments[0]._input_size = (96, 128)
        processor.batch_augments[0]._interval = 10
        results.append(processor(deepcopy(batch), training=True))
    output, expected = results
    assert torch.equal(output["inputs"], expected["inputs"])
    samples, stock_samples = output["data_samples"], expected["data_samples"]
    assert torch.equal(samples["bboxes_labels"], stock_samples["bboxes_labels"])
    height, width = items[0]["inputs"].shape[1:]
    scale = torch.tensor([1, *[128 / width, 96 / height] * 2])
    before = batch["data_samples"]["bboxes_ignored"]
    torch.testing.assert_close(samples["bboxes_ignored"], before * scale)


def test_batch_augments_that_drop_boxes_are_refused(items):
    processor = preprocessor()
    processor.batch_augments = [
        lambda inputs, samples: (
            inputs,
            dict(samples, bboxes_labels=samples["bboxes_labels"][1:]),
        )
    ]
    with pytest.raises(ValueError, match="made 4 boxes of 2 and 3 ignored ones"):
        processor(collate(items), training=True)


def test_preprocessor_refuses_the_stock_collate(items):
    with pytest.raises(ValueError, match=r"got \['bboxes_labels'\].*ignore_aware_coll"):
        preprocessor()(yolov5_collate(items), training=True)
    listed = dict(inputs=torch.zeros(1, 3, 8, 8), data_samples=[DetDataSample()])
    with pytest.raises(ValueError, match=r"got a list.*ignore_aware_collate"):
        preprocessor()(listed, training=True)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_batch_arrives_at_the_loss(coco, num_workers):
    cfg = stock("n")
    cfg.model.data_preprocessor.type = "IgnoreAwareDetDataPreprocessor"
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=num_workers,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(
                cfg.train_dataloader.collate_fn, type="ignore_aware_collate"
            ),
            dataset=dataset_config(coco, ignore_aware(cfg.train_pipeline_stage2)),
        ),
        seed=0,
    )
    model = MODELS.build(cfg.model).train()
    arrived = []

    def loss(inputs, data_samples):
        arrived.append(data_samples)
        return dict(loss=sum(p.sum() for p in model.parameters()))

    model.loss = loss
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    wrapper = Runner.build_optim_wrapper(
        Runner.__new__(Runner), dict(type="OptimWrapper", optimizer=optimizer)
    )
    for batch in loader:
        model.train_step(batch, wrapper)
    assert len(arrived) == 2
    for samples in arrived:
        assert samples["bboxes_ignored"].shape[1] == 5
        assert samples["bboxes_ignored"][:, 0].tolist() == [0, 1, 2, 3]
        assert (samples["bboxes_ignored"][:, 1:] <= 640).all()
        assert samples["bboxes_labels"][:, 1].eq(OBJECT).all()


def test_the_list_path_has_them_as_instances(coco):
    """With mmdet's own collate function and preprocessor nothing of ours is needed."""
    dataset = build(coco, pipelines()["letterbox"])
    batch = FUNCTIONS.get("pseudo_collate")([dataset[0], dataset[1]])
    processor = MODELS.build(dict(type="mmdet.DetDataPreprocessor"))
    samples = processor(batch, training=True)["data_samples"]
    assert [len(s.ignored_instances.bboxes) for s in samples] == [1, 1]
