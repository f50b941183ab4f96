import math

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS

from mmareaaware.models import SizeScoreShift
from tests.conftest import NUM_CLASSES, SIZE, features, head_config

SIDES = (8.0, 32.0, 128.0)
SHIFTS = torch.tensor([1.5, -0.5, 0.25])
PREFIX = "score_shift."


def build(score_shift: dict | None = None, **options):
    """A narrow head in eval mode, its weights the same whatever the options."""
    torch.manual_seed(0)
    if score_shift is not None:
        options["score_shift"] = score_shift
    head = MODELS.build(head_config(**options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return head.eval()


@pytest.fixture
def plain():
    return build()


@pytest.fixture
def shifted():
    return build(dict(type="SizeScoreShift", sides=SIDES))


def predictions(head):
    """Detections of two images, each with its score."""
    meta = dict(ori_shape=(SIZE, SIZE), pad_param=None, scale_factor=(1, 1))
    nms = dict(type="nms", iou_threshold=0.7)
    cfg = ConfigDict(score_thr=0.0, nms_pre=1000, nms=nms, max_per_img=100)
    cfg.multi_label = True
    with torch.no_grad():
        return head.predict_by_feat(
            *head(features(2)), batch_img_metas=[meta] * 2, cfg=cfg, rescale=False
        )


def test_interpolation_in_the_logarithm_of_the_side(device):
    """Against NumPy, for areas below, at, between and beyond the sides."""
    module = SizeScoreShift(SIDES).to(device)
    module.shifts.copy_(SHIFTS)
    sides = np.array([0, 1, 8, 11, 16, 32, 40, 64, 100, 1e4])
    expected = np.interp(np.log2(sides.clip(1e-2)), np.log2(SIDES), SHIFTS.numpy())
    found = module.at(torch.tensor(sides**2, device=device))
    assert found.cpu().numpy() == pytest.approx(expected, abs=1e-6)
    assert found.dtype == torch.float32
    logits = torch.randn(2, NUM_CLASSES, 2, 5, device=device).half()
    areas = torch.tensor(sides**2, device=device).view(1, 2, 5).repeat(2, 1, 1)
    out = module(logits, areas)
    assert out.dtype == torch.float16
    assert torch.equal(out, logits + found.view(1, 1, 2, 5).half())


def test_areas_are_those_of_the_decoded_boxes(shifted):
    """The logits of the head module plus the shift of each box, by hand."""
    shifted.score_shift.shifts.copy_(SHIFTS)
    with torch.no_grad():
        for level in shifted.head_module.reg_preds:  # boxes of 4 to 100 px
            level[-1].weight *= 200
        raw, distances = shifted.head_module(features(2))
        found, same = shifted(features(2))
    shifts = []
    for level, stride in enumerate(shifted.featmap_strides):
        assert torch.equal(same[level], distances[level])
        left, top, right, bottom = (distances[level] * stride).numpy().swapaxes(0, 1)
        area = (left + right) * (top + bottom)
        shift = np.interp(np.log2(area) / 2, np.log2(SIDES), SHIFTS.numpy())
        shifts.append(shift)
        expected = raw[level].numpy() + shift[:, None]
        assert found[level].numpy() == pytest.approx(expected, abs=1e-5)
    assert np.ptp(shifts[0]) > 0.1


def test_no_shift_changes_no_bit(plain, shifted):
    for one, other in zip(predictions(plain), predictions(shifted), strict=True):
        assert len(one.scores)
        for key in ("bboxes", "scores", "labels"):
            assert torch.equal(one[key], other[key])


def test_a_shift_changes_scores_and_training_ignores_it(shifted):
    before = predictions(shifted)
    trained = shifted.train()(features(2))
    shifted.score_shift.shifts.copy_(SHIFTS)
    assert all(map(torch.equal, trained[0], shifted.train()(features(2))[0]))
    after = predictions(shifted.eval())
    assert before[0].scores.sum() != after[0].scores.sum()


def test_shift_is_saved_and_loaded(shifted):
    shifted.score_shift.shifts.copy_(SHIFTS)
    other = build(dict(type="SizeScoreShift", sides=SIDES))
    other.load_state_dict(shifted.state_dict(), strict=True)
    assert torch.equal(other.score_shift.shifts, SHIFTS)
    for one, two in zip(predictions(shifted), predictions(other), strict=True):
        assert torch.equal(one.scores, two.scores)


def test_a_checkpoint_without_a_shift_has_none(plain, shifted):
    shifted.score_shift.shifts.copy_(SHIFTS)
    shifted.load_state_dict(plain.state_dict(), strict=True)
    assert not shifted.score_shift.shifts.any()


@pytest.mark.parametrize("strict", [True, False])
def test_a_fitted_shift_is_not_dropped(plain, shifted, strict):
    shifted.score_shift.shifts.copy_(SHIFTS)
    with pytest.raises(ValueError, match=r"would drop.*sides=\[8.0, 32.0, 128.0\]"):
        plain.load_state_dict(shifted.state_dict(), strict=strict)


def test_a_shift_of_zero_may_be_dropped(plain, shifted):
    plain.load_state_dict(shifted.state_dict(), strict=False)


@pytest.mark.parametrize("sides", [(8, 16, 128), (8, 32)])
def test_other_sides_than_the_checkpoint_are_refused(shifted, sides):
    other = build(dict(type="SizeScoreShift", sides=sides))
    with pytest.raises(ValueError, match=r"\[8.0, 32.0, 128.0\].*set score_shift"):
        other.load_state_dict(shifted.state_dict(), strict=False)


@pytest.mark.parametrize("sides", [(8,), (8, 8), (16, 8), (0, 8), (8, math.nan)])
def test_wrong_sides_are_refused(sides):
    with pytest.raises(ValueError, match="sides must be at least two positive"):
        SizeScoreShift(sides)


def test_another_module_is_refused():
    with pytest.raises(ValueError, match=r"score_shift must be.*SizeScoreShift"):
        build(dict(type="mmdet.L1Loss"))


def test_large_areas_in_half_precision(shifted):
    """Beyond 65504 px², where float16 ends."""
    areas = []
    shifted.score_shift.register_forward_pre_hook(lambda _, args: areas.append(args[1]))
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        _, distances = shifted(features(1))
    assert distances[-1].dtype == torch.float16
    assert areas[-1].max() > 2**16
    assert areas[-1].isfinite().all()
