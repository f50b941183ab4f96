import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmareaaware.analysis.matched_detections import (
    Detections,
    MatchedDetections,
    mean_average_precision,
)
from mmareaaware.analysis.score_shift_files import prepare, with_shift
from mmareaaware.analysis.score_shift_fit import (
    ScoreShiftError,
    calibrate,
    fit_score_shift,
    shift_of,
)
from mmareaaware.evaluation import SizeBinnedCocoMetric
from mmareaaware.models import SizeScoreShift
from tests.conftest import ROOT

SIDES = np.array([8.0, 16, 32, 64])
CLASSES = ("cat", "dog", "none")


def samples(num: int = 12, seed: int = 0) -> list[dict]:
    """Boxes of all sizes, and detections near them or anywhere."""
    rng = np.random.default_rng(seed)
    made = []
    for image in range(num):
        boxes = random_boxes(rng, 6)
        near = np.repeat(boxes, 2, 0)
        near = near + rng.normal(size=near.shape) * 0.1 * (near[:, 2:3] - near[:, :1])
        pred = np.concatenate([near, random_boxes(rng, 6)])
        ignored = random_boxes(rng, 1)
        sample = DetDataSample(
            metainfo=dict(img_id=image, ori_shape=(300, 300), scale_factor=(2.0, 0.5))
        )
        labels = rng.integers(2, size=6)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes), labels=torch.tensor(labels)
        )
        sample.ignored_instances = InstanceData(bboxes=torch.tensor(ignored))
        of_pred = np.concatenate([np.repeat(labels, 2), rng.integers(2, size=6)])
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(pred),
            labels=torch.tensor(of_pred),
            scores=torch.tensor(rng.uniform(size=len(pred))),
        )
        rows = [(b, label, 0) for b, label in zip(boxes, labels, strict=True)]
        rows += [(b, label, 1) for b in ignored for label in range(2)]
        sample.set_metainfo(
            dict(
                instances=[
                    dict(bbox=b.tolist(), bbox_label=int(label), ignore_flag=flag)
                    for b, label, flag in rows
                ]
            )
        )
        made.append(sample.to_dict())
    return made


def random_boxes(rng, num: int) -> np.ndarray:
    corner = rng.uniform(0, 200, (num, 2))
    return np.hstack([corner, corner + np.exp(rng.uniform(2, 4.5, (num, 2)))])


def collected(made: list[dict]) -> Detections:
    metric = MatchedDetections()
    metric.process({}, made)
    metric.evaluate(size=len(made))
    return metric.found


@pytest.mark.parametrize("seed", range(3))
def test_ap_is_that_of_coco(seed, tmp_path):
    """Of all and of small boxes; another order of the same matches changes it."""
    made = samples(seed=seed)
    metric = SizeBinnedCocoMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, made)
    coco = metric.evaluate(size=len(made))
    found = collected(made)
    expected = coco["coco/bbox_mAP"], coco["coco/bbox_mAP_s"]
    values = [mean_average_precision(found, found.score, small) for small in (0, 1)]
    assert values == pytest.approx(expected, abs=0.01)
    assert expected[0] > 0.1
    assert mean_average_precision(found, -found.score) != pytest.approx(values[0])


def test_areas_are_those_in_the_network_input():
    """Images twice as wide and half as high there: the same area."""
    made = samples(1)
    made[0]["scale_factor"] = (2.0, 1.0)
    (low, high) = made[0]["pred_instances"]["bboxes"].chunk(2, 1)
    assert collected(made).area == pytest.approx(2 * (high - low).prod(1).numpy())


def test_rare_classes_are_left_out():
    found = collected(samples())
    number = np.bincount(found.box_label).min()
    rare = np.bincount(found.box_label).argmin()
    both = mean_average_precision(found, found.score, min_boxes=number)
    one = mean_average_precision(found, found.score, min_boxes=number + 1)
    rows = found.label != rare
    found.is_true[found.label == rare] = False
    assert one == mean_average_precision(found, found.score, min_boxes=number + 1)
    assert both > mean_average_precision(found, found.score, min_boxes=number)
    assert rows.any()
    assert np.isnan(mean_average_precision(found, found.score, min_boxes=10**6))


def drawn(shifts: np.ndarray, images: int = 400, seed: int = 0) -> Detections:
    """Detections whose logit is wrong by −shift: right with σ(logit + shift)."""
    rng = np.random.default_rng(seed)
    num = 20 * images
    image = np.repeat(np.arange(images), 20)
    area = 4 ** rng.uniform(2.5, 6.5, num)
    logit = rng.normal(-1, 2, num)
    chance = 1 / (1 + np.exp(-logit - shift_of(area, SIDES, shifts)))
    is_true = np.repeat(rng.uniform(size=(num, 1)) < chance[:, None], 10, 1)
    every = np.ones((num, 10), bool)
    label = rng.integers(2, size=num)
    boxes = is_true[:, 0]
    return Detections(
        image,
        label,
        1 / (1 + np.exp(-logit)),
        area,
        is_true,
        every,
        every & (area < 1024)[:, None],
        image[boxes],
        label[boxes],
        area[boxes] < 1024,
    )


def test_shift_is_found_and_kept():
    shifts = np.array([1.5, 0.5, 0, -1])
    found = drawn(shifts)
    fitted = fit_score_shift(found, SIDES)
    assert fitted.best.strength == 1
    assert fitted.gain > 3 * fitted.error > 0
    assert np.diff(fitted.shifts) == pytest.approx(np.diff(shifts), abs=0.3)
    assert [r.strength for r in fitted.results] == [0, 0.25, 0.5, 0.75, 1]
    before = mean_average_precision(found, found.logit)
    assert fitted.results[0].ap == pytest.approx(before)
    # On average of the true detections nothing moves
    moved = shift_of(found.area, SIDES, fitted.shifts)[found.is_true[:, 0]]
    assert moved.mean() == pytest.approx(0, abs=0.01)


def test_calibrated_scores_stay_as_they_are():
    """Images of their own gain nothing from it, in most draws: it is 0, exactly."""
    kept = [fit_score_shift(drawn(np.zeros(4), 60, s), SIDES).shifts for s in range(10)]
    assert sum(shifts.any() for shifts in kept) <= 2
    assert np.abs(kept).max() < 0.5


def test_held_out_images_decide():
    """What a fold says of itself does not count: with truth of chance, no gain."""
    found = drawn(np.zeros(4), 40)
    own = shift_of(found.area, SIDES, calibrate(found, SIDES))
    on_itself = mean_average_precision(found, found.logit + own)
    assert on_itself > fit_score_shift(found, SIDES).results[-1].ap


def test_shifts_are_those_of_the_module():
    module = SizeScoreShift(SIDES)
    shifts = np.array([1.0, -2, 0.5, 3])
    module.shifts.copy_(torch.tensor(shifts))
    areas = np.array([0.0, 3, 64, 500, 2000, 5000])
    expected = module.at(torch.tensor(areas)).numpy()
    assert shift_of(areas, SIDES, shifts) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("images", [9, 40])
def test_too_little_to_fit_is_said(images):
    found = drawn(np.zeros(4), images)
    if images > 10:
        found.is_true[:] = False
    with pytest.raises(ScoreShiftError, match="a fit needs 10 images and one true"):
        fit_score_shift(found, SIDES)


def test_the_training_set_goes_through_the_pipeline_of_testing():
    cfg = Config.fromfile(ROOT / "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py")
    trained, tested = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    pipeline, val_file = tested.pipeline, tested.ann_file
    assert trained.ann_file != val_file
    prepare(cfg, "train")
    used = cfg.test_dataloader.dataset
    assert used.ann_file == trained.ann_file
    assert used.data_prefix == trained.data_prefix
    assert used.pipeline == pipeline
    assert cfg.val_dataloader.dataset.ann_file == val_file
    assert cfg.model.bbox_head.score_shift == dict(type="SizeScoreShift")

    prepare(cfg, "val")
    assert cfg.test_dataloader.dataset.ann_file == val_file


def test_heads_without_a_shift_are_named():
    cfg = Config.fromfile(
        ROOT / "configs/fcos/fcos_r50-caffe_fpn_gn-head_bg-max_1x_coco.py"
    )
    with pytest.raises(
        ScoreShiftError, match=r"AreaAwareYOLOv8Head.*AreaAwareFCOSHead"
    ):
        prepare(cfg, "val")


def test_checkpoint_with_a_shift_has_the_weights_and_no_optimizer():
    fitted = fit_score_shift(drawn(np.array([1.5, 0.5, 0, -1]), 40), SIDES)
    weight = torch.ones(2)
    written = with_shift(
        dict(meta=dict(epoch=3), state_dict=dict(w=weight), optimizer={}), fitted
    )
    assert written["meta"] == dict(epoch=3)
    state = written["state_dict"]
    assert written.keys() == {"meta", "state_dict"}
    assert state.pop("w") is weight
    module = SizeScoreShift(SIDES)
    module.load_state_dict(
        {k.removeprefix("bbox_head.score_shift."): v for k, v in state.items()}
    )
    assert module.shifts.numpy() == pytest.approx(fitted.shifts, abs=1e-6)
