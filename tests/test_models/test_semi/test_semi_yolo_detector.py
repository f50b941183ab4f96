"""What a semi-supervised YOLO learns from, and what it does not look at."""

from copy import deepcopy

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from mmareaaware.models.semi.teacher_detections import detect
from tests.conftest import ROOT
from tests.semi import (
    FIXED,
    NUM_CLASSES,
    SIZE,
    build,
    detector_config,
    found,
    sample,
    semi_batch,
    semi_config,
    step,
    truth,
)
from tests.two_processes import rank_0_of_2

MOVING = {
    "class counts": dict(type="ClassCountThresholds", high=0.7, low=0.3),
    "F1": dict(type="F1Thresholds", high=0.7, low=0.1, interval=1, momentum=0.5),
}
THRESHOLDS = {"fixed": FIXED, **MOVING}
each_thresholds = pytest.mark.parametrize(
    "thresholds", THRESHOLDS.values(), ids=list(THRESHOLDS)
)


def semi_model(thresholds=FIXED, num_classes=NUM_CLASSES, weight=1.0, **labels):
    labels = dict(thresholds=thresholds, **labels)
    detector = detector_config(num_classes)
    return build(semi_config(detector, lambda_u=weight, pseudo_labels=labels))


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@each_thresholds
def test_hidden_labels_change_no_bit(thresholds):
    batch = semi_batch()
    other = deepcopy(batch)
    generator = torch.Generator().manual_seed(9)
    for branch in ("unsup_teacher", "unsup_student"):
        for view in other["data_samples"][branch][-2:]:
            view.gt_instances = truth(7, generator)
            view.ignored_instances = truth(2, generator)
    model, second = semi_model(thresholds), semi_model(thresholds)
    for _ in range(2):
        values, grads = step(model, batch)
        other_values, other_grads = step(second, other)
        assert values["unsup_num_pos"] > 0
        assert same(values, other_values)
        assert same(grads, other_grads)
    assert same(model.state_dict(), second.state_dict())


def test_labels_of_labelled_images_do_count():
    batch, other = semi_batch(), semi_batch()
    other["data_samples"]["sup"][0].gt_instances = truth(
        7, torch.Generator().manual_seed(9)
    )
    assert not same(step(semi_model(), batch)[1], step(semi_model(), other)[1])


def test_burn_in_is_supervised_training_bit_for_bit():
    model = semi_model(weight=0.0)
    plain = build(detector_config())
    plain.load_state_dict(model.student.state_dict())

    def refuse(*args, **kwargs):
        raise AssertionError("the teacher was run")

    model.teacher.backbone.forward = refuse
    seen = []
    model.student.backbone.register_forward_hook(lambda *call: seen.append(call))
    batch = semi_batch()
    values, grads = step(model, batch)
    assert len(seen) == 1  # and not the unlabelled images
    assert model.last_pseudo_labels is None

    supervised = {k: {"x": v["sup"][:2]} for k, v in batch.items()}
    data = {k: v["x"] for k, v in supervised.items()}
    expected, expected_grads = step(plain, data)
    for name, value in expected.items():
        if name != "loss":
            assert torch.equal(values[f"sup_{name}"], value), name
    assert torch.equal(values["loss"], expected["loss"])
    assert torch.equal(values["loss_sup"], expected["loss"])
    assert values["loss_unsup"] == 0
    assert same(grads, {f"student.{k}": v for k, v in expected_grads.items()})
    assert same(model.student.state_dict(), plain.state_dict())


def test_totals_in_the_log():
    values, _ = step(semi_model(weight=0.7), semi_batch())
    half, _ = step(semi_model(weight=0.35), semi_batch())
    for branch in ("sup", "unsup"):
        parts = [v for k, v in values.items() if k.startswith(f"{branch}_loss_")]
        assert len(parts) == 4
        torch.testing.assert_close(values[f"loss_{branch}"], sum(parts))
    torch.testing.assert_close(
        values["loss"], values["loss_sup"] + values["loss_unsup"]
    )
    torch.testing.assert_close(values["loss_unsup"], 2 * half["loss_unsup"])
    assert values["loss_unsup"] > 0


def test_the_teacher_stays_a_teacher():
    model = semi_model()
    assert model.train().student.training
    assert not any(module.training for module in model.teacher.modules())
    assert not any(value.requires_grad for value in model.teacher.parameters())
    before = deepcopy(model.teacher.state_dict())
    _, grads = step(model, semi_batch())
    assert not any(name.startswith("teacher") for name in grads)
    assert same(model.teacher.state_dict(), before)


def detections(number: int) -> InstanceData:
    generator = torch.Generator().manual_seed(3)
    found = truth(number, generator)
    found.scores = torch.ones(number)
    found.is_exact = torch.ones(number, dtype=torch.bool)
    return found


@pytest.mark.parametrize(
    "numbers", [[0] * 16, [1] + [0] * 15, [40] * 16], ids=["none", "one", "hundreds"]
)
def test_the_unsupervised_loss_is_bounded(numbers, monkeypatch):
    model = semi_model()
    monkeypatch.setattr(
        model.pseudo_labeller, "detect", lambda *_: list(map(detections, numbers))
    )
    batch = semi_batch(num_unsup=16)
    values, _ = step(model, batch)
    by_itself = dict(
        bboxes_labels=model.last_pseudo_labels.boxes, img_metas=[{}] * len(numbers)
    )
    data = model.data_preprocessor(deepcopy(batch), True)
    alone = build(model_config := detector_config())
    alone.load_state_dict(semi_model().student.state_dict())
    alone.loss(data["inputs"]["sup"], data["data_samples"]["sup"])
    stock = alone.loss(data["inputs"]["unsup_student"], by_itself)

    own = max(values["unsup_target_sum"].item(), 1)
    labelled = values["sup_target_sum"].item() * 16 / 2
    factor = own / max(own, labelled)
    for name in ("loss_cls", "loss_bbox", "loss_dfl", "loss_bg"):
        expected = (stock[name] * factor).detach()
        torch.testing.assert_close(values[f"unsup_{name}"], expected)
    assert model_config.type == "YOLODetector"
    # An image may cost what a labelled one may: 4.4 of background, 14 of all
    assert values["loss_unsup"] < 2 * values["loss_sup"] * 16 / 2
    if sum(numbers) < 2:
        assert stock["loss_cls"] > 5 * values["unsup_loss_cls"]  # what it prevents


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scores_as", ["weights", "targets"])
def test_half_precision_is_finite(dtype, scores_as):
    quality = dict(type="DistributionSharpness", max_spread=5.0)
    model = semi_model(scores_as=scores_as, box_quality=quality)
    with torch.autocast("cpu", dtype=dtype):
        values, grads = step(model, semi_batch())
    assert values["unsup_loss_bbox"] > 0
    assert all(value.isfinite() for value in values.values())
    assert all(grad.isfinite().all() for grad in grads.values())
    assert model.last_pseudo_labels.boxes.dtype == torch.float32


@pytest.mark.parametrize(
    "numbers", [[0, 0], [1, 0], [300, 300]], ids=["none", "one", "hundreds"]
)
def test_half_precision_with_any_number_of_pseudo_boxes(numbers, monkeypatch):
    expected = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        model = semi_model()
        monkeypatch.setattr(
            model.pseudo_labeller, "detect", lambda *_: list(map(detections, numbers))
        )
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            values, grads = step(model, semi_batch())
        assert (values["unsup_num_pos"] > 0) == (sum(numbers) > 0)
        assert all(grad.isfinite().all() for grad in grads.values())
        losses = {k: v.item() for k, v in values.items() if "unsup_loss" in k}
        expected = expected or losses
        # All are divided by the sum of targets: a prior assigned otherwise is 7 %
        assert losses == pytest.approx(expected, rel=0.2)


def test_boxes_are_learnt_only_where_their_quality_passes():
    values, _ = step(semi_model(), semi_batch())
    assert values["unsup_num_pos"] > 0
    assert values["unsup_loss_bbox"] == values["unsup_loss_dfl"] == 0
    quality = dict(type="DistributionSharpness", max_spread=5.0)
    values, _ = step(semi_model(box_quality=quality), semi_batch())
    assert values["unsup_loss_bbox"] > 0
    assert values["unsup_loss_dfl"] > 0


@each_thresholds
@pytest.mark.parametrize("boxes", [0, 3])
def test_one_class(thresholds, boxes):
    model = semi_model(thresholds, num_classes=1)
    batch = semi_batch(boxes=boxes)
    for branch in batch["data_samples"].values():
        for view in filter(None, branch):
            view.gt_instances.labels[:] = 0
    values, _ = step(model, batch)
    assert values["unsup_num_pos"] > 0
    assert all(value.isfinite() for value in values.values())
    assert model.pseudo_labeller.thresholds.high.isfinite().all()


def test_predicts_with_the_network_it_is_told():
    model = semi_model().eval()
    with torch.no_grad():
        for branch in model.teacher.bbox_head.head_module.cls_preds:
            branch[-1].bias -= 30
    images = torch.rand(1, 3, SIZE, SIZE)
    view = sample()
    view.set_metainfo(dict(batch_input_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE)))
    for name in ("teacher", "student"):
        model.semi_test_cfg["predict_on"] = name
        (found,) = model(images, [deepcopy(view)], mode="predict")
        network = getattr(model, name)
        (expected,) = network(images, [deepcopy(view)], mode="predict")
        assert torch.equal(found.pred_instances.scores, expected.pred_instances.scores)
        if name == "teacher":
            lower = expected.pred_instances.scores.max()
    assert found.pred_instances.scores.max() > lower
    assert semi_model().semi_test_cfg.get("predict_on", "teacher") == "teacher"


def test_a_supervised_checkpoint_goes_into_both():
    plain = build(detector_config(), seed=5)
    model = semi_model()
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith("pseudo_labeller.") for key in missing)
    for network in (model.student, model.teacher):
        assert same(network.state_dict(), plain.state_dict())


@pytest.mark.parametrize(("size", "size_unsup"), [(SIZE, 64), (64, SIZE)])
def test_unlabelled_images_of_another_size(size, size_unsup):
    model = semi_model(dict(FIXED, high=0.6))
    batch = semi_batch(num_unsup=4, size=size, size_unsup=size_unsup)
    values, grads = step(model, batch)
    again, _ = step(model, batch)  # begins where the other size was the last
    assert same(values, again)
    assert values["unsup_num_pos"] > 0
    assert all(value.isfinite() for value in values.values())
    assert all(grad.isfinite().all() for grad in grads.values())
    assert grads["student.backbone.stem.conv.weight"].any()
    labels = model.last_pseudo_labels
    views = zip(labels.detections, labels.is_pseudo, strict=True)
    weak = torch.cat([found.bboxes[is_pseudo] for found, is_pseudo in views])
    x1, y1, x2, y2 = weak.clamp(0, size_unsup).unbind(1)
    flipped = torch.stack([size_unsup - x2, y1, size_unsup - x1, y2], 1)
    stays = (flipped[:, 2:] - flipped[:, :2] >= 2).all(1)
    torch.testing.assert_close(labels.boxes[:, 2:], flipped[stays])


def yolo11(network: str):
    detector = detector_config()
    detector.update(Config.fromfile(ROOT / "configs/_base_/yolo11.py")[network])
    for part in (detector.backbone, detector.neck, detector.bbox_head.head_module):
        part.widen_factor = 0.125
    return detector


OTHERS = pytest.mark.parametrize(
    ("network", "levels"), [("yolo11_n", 3), ("yolo11_n_p2", 4)]
)


@OTHERS
def test_sees_what_the_head_predicts(network, levels):
    """Which clips the boxes to the image, here said to be large."""
    teacher = build(semi_config(yolo11(network))).teacher
    head, images = teacher.bbox_head, torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        for branch in head.head_module.cls_preds:
            branch[-1].weight *= 0.05  # no two scores are 1 then
    found = detect(teacher, images, score_thr=0.0, nms_iou=1.0, max_per_img=2000)
    test_cfg = dict(head.test_cfg, multi_label=False, score_thr=0.0, nms_pre=1000)
    test_cfg.update(nms=dict(type="nms", iou_threshold=1.0), max_per_img=2000)
    large = dict(ori_shape=(9999, 9999), scale_factor=(1.0, 1.0))
    with torch.no_grad():
        outputs = head(teacher.extract_feat(images))
    assert len(outputs[0]) == levels
    predicted = head.predict_by_feat(
        *outputs, batch_img_metas=[large] * 2, cfg=ConfigDict(test_cfg), rescale=False
    )
    for image, expected in zip(found, predicted, strict=True):
        assert len(image) > 50
        image.bboxes = image.bboxes.clamp(min=0)
        for key in ("scores", "labels", "bboxes"):
            torch.testing.assert_close(image[key], expected[key])


@OTHERS
def test_other_networks_learn(network, levels):
    model = build(semi_config(yolo11(network)))
    values, grads = step(model, semi_batch())
    module = model.student.bbox_head.head_module
    assert type(module).__name__ == "YOLO11HeadModule"
    assert len(module.cls_preds) == levels
    assert values["unsup_num_pos"] > 0
    assert all(value.isfinite() for value in values.values())
    assert len(grads) == len(list(model.student.parameters()))
    assert all(grad.isfinite().all() for grad in grads.values())
    for level in range(levels):
        assert grads[f"student.bbox_head.head_module.cls_preds.{level}.2.weight"].any()


def assigner(name):
    cfg = detector_config()
    cfg.train_cfg.assigner.type = name
    return cfg


def stock_head():
    cfg = detector_config(type="YOLOv8Head")
    del cfg.bbox_head["loss_bg"]
    return cfg


WRONG = {
    "a stock head": (dict(detector=stock_head()), "YOLOv8Head"),
    "a stock assigner": (
        dict(detector=assigner("BatchTaskAlignedAssigner")),
        "SparseTaskAlignedAssigner",
    ),
    "no branches": (dict(data_preprocessor=None), "MultiBranchDataPreprocessor"),
    "fast collate": (
        dict(
            data_preprocessor=dict(
                type="mmdet.MultiBranchDataPreprocessor",
                data_preprocessor=dict(type="YOLOv5DetDataPreprocessor"),
            )
        ),
        "DetDataPreprocessor",
    ),
    "score shift": (
        dict(detector=detector_config(score_shift=dict(type="SizeScoreShift"))),
        "score_shift out",
    ),
    "negative weight": (dict(lambda_u=-1.0), "-1.0"),
    "nan": (dict(lambda_u=float("nan")), "nan"),
    "predict_on": (dict(semi_test_cfg=dict(predict_on="both")), "both"),
    "scores_as": (dict(pseudo_labels=dict(scores_as="soft")), "soft"),
    "quality": (
        dict(
            pseudo_labels=dict(
                box_quality=dict(type="DistributionSharpness", max_spread=0)
            )
        ),
        "max_spread",
    ),
    "order": (
        dict(
            pseudo_labels=dict(
                thresholds=dict(type="FixedThresholds", high=0.1, low=0.6)
            )
        ),
        "low=0.6",
    ),
    "range": (
        dict(
            pseudo_labels=dict(
                thresholds=dict(type="ClassCountThresholds", low=0.4, min_high=0.3)
            )
        ),
        "min_high=0.3",
    ),
    "no thresholds": (
        dict(pseudo_labels=dict(thresholds=dict(type="PowerAreaWeight"))),
        "F1Thresholds",
    ),
}


@pytest.mark.parametrize(("settings", "word"), WRONG.values(), ids=list(WRONG))
def test_what_is_refused_when_it_is_built(settings, word):
    config = semi_config(detector_config())
    del config["pseudo_labels"]
    for key, value in settings.items():  # update() would merge
        config[key] = value
    with (
        DefaultScope.overwrite_default_scope("mmyolo"),
        pytest.raises(ValueError, match=word),
    ):
        MODELS.build(config)


def test_the_burn_in_preprocesses_labelled_images_alone():
    model = semi_model(weight=0.0)
    labelled = model.data_preprocessor(semi_batch(), True)
    by_name = model.data_preprocessor(semi_batch(), training=True)  # several processes
    for data in (labelled, by_name):
        assert list(data["inputs"]) == list(data["data_samples"]) == ["sup"]
    model.lambda_u = 0.5
    data = model.data_preprocessor(semi_batch(), True)
    assert list(data["inputs"]) == ["sup", "unsup_teacher", "unsup_student"]
    assert torch.equal(data["inputs"]["sup"], labelled["inputs"]["sup"])
    one = dict(inputs=[semi_batch()["inputs"]["sup"][0]], data_samples=[sample()])
    for training in ((), (False,)):
        assert len(model.data_preprocessor(deepcopy(one), *training)["inputs"]) == 1


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_missing_homography_or_branch_is_seen_at_once(weight):
    batch = semi_batch()
    for view in batch["data_samples"]["unsup_student"][-2:]:
        del view.homography_matrix
    with pytest.raises(ValueError, match="unsup_student have no homography_matrix"):
        step(semi_model(weight=weight), batch)
    batch = semi_batch()
    view = batch["data_samples"]["unsup_teacher"][-2]
    view.set_metainfo(dict(img_shape=(SIZE, SIZE, 3)))  # as MMYOLO's LetterResize does
    with pytest.raises(ValueError, match=r"unsup_teacher is .*HomographyLetterResize"):
        step(semi_model(weight=weight), batch)
    batch = semi_batch()
    for values in batch.values():
        del values["unsup_teacher"]
    with pytest.raises(ValueError, match="unsup_teacher"):
        step(semi_model(weight=weight), batch)


def gradients_of_rank(rank, world_size, thresholds):
    """Of one of two ranks, or of both at once; BatchNorm in eval mode."""
    import mmareaaware  # noqa: F401

    model = semi_model(thresholds)
    model.student.eval()
    model.student.bbox_head.train()
    for norm in model.student.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eval()
    whole = semi_batch(num_sup=4, num_unsup=4, boxes=3)
    whole["data_samples"]["sup"][0].gt_instances = truth(
        9, torch.Generator().manual_seed(1)
    )
    if world_size == 2:
        whole = {
            key: {
                "sup": branches["sup"][2 * rank :][:2],
                "unsup_teacher": branches["unsup_teacher"][4 + 2 * rank :][:2],
                "unsup_student": branches["unsup_student"][4 + 2 * rank :][:2],
            }
            for key, branches in whole.items()
        }
    _, grads = step(model, whole)
    if world_size == 2:
        for grad in grads.values():
            torch.distributed.all_reduce(grad)
            grad /= 2
    state = model.pseudo_labeller.state_dict()
    return {k: v.numpy() for k, v in {**grads, **state}.items()}


@pytest.mark.parametrize("thresholds", MOVING.values(), ids=list(MOVING))
def test_two_processes_give_what_one_gives(thresholds, free_port):
    parts = rank_0_of_2(gradients_of_rank, free_port, thresholds)
    whole = gradients_of_rank(0, 1, thresholds)
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        expected, result = torch.tensor(value), torch.tensor(parts[name])
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            result, expected, rtol=1e-3, atol=1e-5 * max(scale, 1e-6), msg=name
        )


def test_uncertain_boxes_reach_the_student_as_ignored_regions(monkeypatch):
    """An image that is one uncertain object has no background; one without is all."""
    losses = {}
    for score in (0.7, 0.1):
        model = semi_model()
        whole = detections(1)
        whole.bboxes = torch.tensor([[0.0, 0.0, SIZE, SIZE]])
        whole.scores[:] = score
        seen = whole[whole.scores >= model.pseudo_labeller.thresholds.low]
        monkeypatch.setattr(model.pseudo_labeller, "detect", lambda *_, s=seen: [s] * 2)
        losses[score], _ = step(model, semi_batch())
    for name in ("unsup_loss_cls", "unsup_loss_bg"):
        assert losses[0.7][name] == 0
        assert losses[0.1][name] > 0


def test_ignored_boxes_of_labelled_images():
    batch = semi_batch()
    for view in batch["data_samples"]["sup"][:2]:
        view.gt_instances = truth(0, torch.Generator())
        view.ignored_instances = truth(1, torch.Generator())
        view.ignored_instances.bboxes[:] = torch.tensor([0.0, 0, SIZE, SIZE])
    values, _ = step(semi_model(), batch)
    assert values["sup_loss_cls"] == values["sup_loss_bg"] == 0


def test_f1_is_measured_on_the_labelled_images(monkeypatch):
    model, batch, seen = semi_model(MOVING["F1"]), semi_batch(), []

    def detect_nothing(network, images):
        seen.append((network, images))
        return [found([], [])] * len(images)

    monkeypatch.setattr(model.pseudo_labeller, "detect", detect_nothing)
    step(model, batch)
    (of_weak, weak), (of_labelled, labelled) = seen
    assert of_weak is of_labelled is model.teacher
    inputs = batch["inputs"]
    torch.testing.assert_close(labelled, torch.stack(inputs["sup"][:2]) / 255)
    torch.testing.assert_close(weak, torch.stack(inputs["unsup_teacher"][2:]) / 255)
