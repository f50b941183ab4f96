import logging
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmdet.models.losses import (
    CrossEntropyLoss,
    FocalLoss,
    QualityFocalLoss,
    SeesawLoss,
)
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmareaaware.engine import DetectionMonitorHook
from mmareaaware.engine.hooks import detection_monitor_hook
from mmareaaware.engine.hooks.classification_probe import ClassificationProbe
from mmareaaware.engine.hooks.detection_monitor_hook import _classifying_head, _detect
from mmareaaware.models import AreaAwareBCELoss, PosWeightedCrossEntropyLoss
from mmareaaware.models.losses import SparseLogits, SparseTargets
from tests.conftest import ROOT
from tests.detectors import build_detector, detector_config

YOLO = "yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
TWO_STAGE = "faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py"
C = 3


# What the probe hears


def probe(loss, *args, **kwargs) -> list[float]:
    """Mean foreground score, positives, mean background score, negatives."""
    listener = ClassificationProbe(loss)
    loss(*args, **kwargs)
    listener.close()
    loss(*args, **kwargs)  # not heard
    fg, num_fg, bg, num_bg = listener.sums.tolist()
    return [fg / max(num_fg, 1), num_fg, bg / max(num_bg, 1), num_bg]


def test_softmax_labels():
    logits = torch.randn(6, C + 1, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, C - 1, C, C, 1, C])
    weight = torch.tensor([1, 2.0, 1, 0, 0, 1])
    p = logits.double().softmax(1)
    heard = probe(PosWeightedCrossEntropyLoss(3.0), logits, labels, weight)
    fg = (p[0, 0] + p[1, C - 1]) / 2
    bg = (p[2, :C].max() + p[5, :C].max()) / 2
    assert heard == pytest.approx([fg.item(), 2, bg.item(), 2])


@pytest.mark.parametrize("loss", [FocalLoss(), CrossEntropyLoss(use_sigmoid=True)])
def test_sigmoid_labels(loss):
    logits = torch.randn(4, C, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, C, C, 0])
    p = logits.double().sigmoid()
    heard = probe(loss, logits, labels, weight=torch.tensor([1.0, 1, 0, 1]))
    fg = (p[0, 2] + p[3, 0]) / 2
    assert heard == pytest.approx([fg.item(), 2, p[1].max().item(), 1])


def test_seesaw_has_two_more_channels():
    loss = SeesawLoss(num_classes=C)
    logits = torch.randn(4, C + 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1, C, C, C])
    scores = loss.get_activation(logits)
    found = probe(loss, logits, labels, torch.ones(4))
    expected = [scores[0, 1], 1, scores[1:, :C].amax(1).mean(), 3]
    assert found == pytest.approx([float(x) for x in expected])


def test_labels_with_a_quality():
    logits = torch.randn(3, C, generator=torch.Generator().manual_seed(0))
    labels, quality = torch.tensor([1, C, 0]), torch.tensor([0.5, 0.0, 0.9])
    p = logits.double().sigmoid()
    heard = probe(QualityFocalLoss(), logits, (labels, quality))
    fg = (p[0, 1] + p[2, 0]) / 2
    assert heard == pytest.approx([fg.item(), 2, p[1].max().item(), 1])


def test_probabilities_as_toods_loss_takes_them():
    p = torch.tensor([[0.2, 0.7, 0.1], [0.3, 0.1, 0.05]])
    loss = QualityFocalLoss(activated=True)
    heard = probe(loss, p, (torch.tensor([1, C]), torch.tensor([0.5, 0.0])))
    assert heard == pytest.approx([0.7, 1, 0.3, 1])


def test_soft_targets_dense_and_sparse():
    logits = torch.randn(2, 5, C, generator=torch.Generator().manual_seed(0))
    image, prior = torch.tensor([0, 1]), torch.tensor([3, 1])
    targets = SparseTargets(
        image, prior, torch.tensor([2, 0]), torch.tensor([0.4, 0.9])
    )
    p = logits.double().sigmoid()
    fg = (p[0, 3, 2] + p[1, 1, 0]).item() / 2
    background = p.amax(2)
    rest = background.sum() - background[0, 3] - background[1, 1]
    expected = pytest.approx([fg, 2, rest.item() / 8, 8])
    loss = AreaAwareBCELoss(area_weight=None)
    assert probe(loss, logits, targets.dense(2, 5, C)) == expected
    condensed = SparseLogits.read(logits, targets)
    assert probe(loss, condensed, targets) == expected


def test_what_ohem_ranks_is_not_heard():
    logits, labels = torch.zeros(4, C + 1), torch.tensor([0, C, C, C])
    loss = CrossEntropyLoss()
    assert probe(loss, logits, labels, reduction_override="none")[1] == 0
    assert probe(loss, logits, labels)[1] == 1


# In a training


def build_runner(config, options, work_dir, hook: dict | None) -> Runner:
    cfg = Config.fromfile(ROOT / "configs/demo" / config)
    cfg.merge_from_dict(options)
    cfg.custom_hooks = [h for h in cfg.custom_hooks if h.type != "DetectionMonitorHook"]
    if hook is not None:
        cfg.custom_hooks.append(dict(type="DetectionMonitorHook", **hook))
    cfg.work_dir = str(work_dir)
    return Runner.from_cfg(cfg)


@pytest.fixture
def run(demo_options, two_stage_options, tmp_path):
    def run(config, name, hook) -> Runner:
        options = two_stage_options if config == TWO_STAGE else demo_options
        options = {k: v for k, v in options.items() if not k.startswith("custom_hooks")}
        options["train_cfg.val_interval"] = 1
        runner = build_runner(config, options, tmp_path / name, hook)
        runner.train()
        return runner

    return run


@pytest.mark.parametrize("config", [YOLO, TWO_STAGE], ids=["yolov8", "faster"])
def test_logs_and_changes_nothing(config, run):
    thresholds = (0.0, 0.5)
    plain = run(config, "plain", None)
    watched = run(config, "watched", dict(interval=2, score_thrs=thresholds, burn_in=0))
    expected = plain.model.state_dict()
    for name, value in watched.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    scalars = watched.message_hub.log_scalars
    for name in ("detections_0", "detections_0.5", "fg_score", "bg_score"):
        values, _ = scalars[f"train/{name}"].data
        assert len(values) == 3  # of 6 iterations
        assert (values >= 0).all()
    assert scalars["train/detections_0"].data[0].max() > 1
    assert ("train/roi_fg_share" in scalars) == (config == TWO_STAGE)
    values, _ = scalars["val/detections_0"].data
    assert len(values) == 2


@pytest.mark.parametrize("config", [YOLO, TWO_STAGE], ids=["yolov8", "faster"])
def test_detections_are_those_of_inference(
    config, demo_options, two_stage_options, tmp_path
):
    options = two_stage_options if config == TWO_STAGE else demo_options
    runner = build_runner(config, options, tmp_path, None)
    (batch,) = runner.build_dataloader(runner.cfg.val_dataloader)
    model = runner.model.train()
    results = _detect(model, batch["inputs"])
    assert all(module.training for module in model.modules())
    expected = model.eval().test_step(batch)
    assert len(results) == len(expected) == 6
    for result, sample in zip(results, expected, strict=True):
        assert len(result) > 0
        assert torch.equal(result.scores, sample.pred_instances.scores)
        assert torch.equal(result.bboxes, sample.pred_instances.bboxes)


# Collapse


class Watched:
    """A runner that is at some iteration and finds so many detections."""

    def __init__(self, hook, stages=2):
        self.hook = hook
        self.iter = 0
        self.model = torch.nn.Module()
        if stages == 2:
            self.model.roi_head = torch.nn.Module()
        self.logger = logging.getLogger("watched")

    def look(self, *detections):
        for number in detections:
            self.hook._watch(self, number)
            self.iter += self.hook.interval


def test_warns_once_per_episode(caplog):
    runner = Watched(DetectionMonitorHook(interval=10, patience=3))
    with caplog.at_level(logging.WARNING, "watched"):
        runner.look(5, 0, 0, 3, 0, 0)
        assert not caplog.records
        runner.look(0.05)
        assert len(caplog.records) == 1
        runner.look(0, 0, 0, 0)
        assert len(caplog.records) == 1
        runner.look(2, 0, 0, 0)
        assert len(caplog.records) == 2
    text = caplog.records[0].getMessage()
    assert "detections collapsed: at iteration 61 there are 0.05 per image" in text
    assert "PosWeightedCrossEntropyLoss" in text


def test_one_stage_gets_no_advice_for_an_rpn(caplog):
    runner = Watched(DetectionMonitorHook(patience=1), stages=1)
    with caplog.at_level(logging.WARNING, "watched"):
        runner.look(0)
    (record,) = caplog.records
    assert "rpn_head" not in record.getMessage()
    assert "clip_grad" in record.getMessage()


def test_stops_on_demand():
    runner = Watched(DetectionMonitorHook(patience=2, stop_on_collapse=True))
    runner.look(0)
    with pytest.raises(RuntimeError, match="detections collapsed"):
        runner.look(0)


def test_a_collapsed_training_ends(run):
    """With a threshold that no score reaches, every look is one with too few."""
    hook = dict(
        interval=1, score_thrs=(0.999,), patience=3, burn_in=1, stop_on_collapse=True
    )
    with pytest.raises(RuntimeError, match="at iteration 4 there are 0 per image"):
        run(TWO_STAGE, "collapsed", hook)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(interval=0), "interval must be at least 1, got 0"),
        (dict(patience=0), "patience must be at least 1, got 0"),
        (dict(min_detections=-1), "min_detections must not be negative, got -1"),
        (dict(burn_in=-1), "burn_in must not be negative, got -1"),
        (dict(score_thrs=(0.5, 1.0)), r"scores in \[0, 1\), got \(0.5, 1.0\)"),
        (dict(score_thrs=()), r"scores in \[0, 1\), got \(\)"),
    ],
)
def test_wrong_options_fail_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        DetectionMonitorHook(**options)


def test_another_kind_of_detector_is_refused():
    runner = SimpleNamespace(model=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"model.type is 'Linear'"):
        DetectionMonitorHook().before_train(runner)


def test_a_head_without_a_loss_module_is_refused():
    cfg = get_config("mmdet::ssd/ssd300_coco.py").model
    cfg.backbone.init_cfg = None
    runner = SimpleNamespace(model=build_detector(cfg))
    with pytest.raises(ValueError, match="SSDHead has none: take the hook out"):
        DetectionMonitorHook().before_train(runner)


def test_as_many_as_min_detections_are_enough(caplog):
    runner = Watched(DetectionMonitorHook(patience=1, min_detections=0.5))
    with caplog.at_level(logging.WARNING, "watched"):
        runner.look(0.5, 0.5)
    assert not caplog.records


def look(monkeypatch, hook, scores, sums) -> dict:
    """What a look logs of one image with these scores, and these sums of a probe."""
    found, logged = [InstanceData(scores=torch.tensor(scores))], {}
    monkeypatch.setattr(detection_monitor_hook, "_detect", lambda *_: found)
    hook._probe = SimpleNamespace(close=int, sums=torch.tensor(sums), calls=1)
    runner = Watched(hook)
    runner.optim_wrapper = SimpleNamespace(optim_context=lambda _: nullcontext())
    runner.message_hub = SimpleNamespace(update_scalar=logged.__setitem__)
    hook.after_train_iter(runner, 0, dict(inputs=None))
    return {name.removeprefix("train/"): value for name, value in logged.items()}


def test_images_without_objects_are_no_collapse(monkeypatch, caplog):
    hook = DetectionMonitorHook(patience=1, burn_in=0)
    with caplog.at_level(logging.WARNING, "watched"):
        look(monkeypatch, hook, [0.01], [0.0, 0, 0.4, 8])
        assert not caplog.records
        look(monkeypatch, hook, [0.01], [0.5, 1, 0.4, 8])
    assert len(caplog.records) == 1


def test_it_is_the_lowest_threshold_that_counts(monkeypatch, caplog):
    hook = DetectionMonitorHook(score_thrs=(0.5, 0.1), patience=1, burn_in=0)
    with caplog.at_level(logging.WARNING, "watched"):
        look(monkeypatch, hook, [0.2], [0.5, 1, 0.4, 8])
    assert not caplog.records


def test_what_is_logged(monkeypatch):
    hook = DetectionMonitorHook(score_thrs=(0.5, 0.1))
    logged = look(monkeypatch, hook, [0.5, 0.2, 0.05], [1.5, 2, 0.4, 8])
    expected = {"detections_0.1": 2, "detections_0.5": 1}
    expected |= dict(fg_score=0.75, bg_score=0.05, roi_fg_share=0.2)
    assert logged == pytest.approx(expected)


def test_what_is_logged_of_two_ranks(monkeypatch):
    """Of the other rank one more of everything."""
    monkeypatch.setattr(detection_monitor_hook, "all_reduce", lambda x: x.add_(1.0))
    hook = DetectionMonitorHook(score_thrs=(0.1,))
    logged = look(monkeypatch, hook, [0.5, 0.2, 0.05], [1.5, 2, 0.4, 8])
    assert logged["detections_0.1"] == 1.5
    assert logged["fg_score"] == pytest.approx(2.5 / 3)


def test_of_a_cascade_the_last_head_is_heard():
    model = build_detector(detector_config("cascade"))
    assert _classifying_head(model) is model.roi_head.bbox_head[-1]
