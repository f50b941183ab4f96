import pytest
import torch
from torch import nn

from mmareaaware.analysis import TrainingBoxes, area_report, suggest
from tests.conftest import NUM_CLASSES

SPARSE = dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES)


def report_on(sides, model=None, cut: int = 0):
    """Squares in the middle of an input of 512 px; the first ones at its left edge."""
    sides = torch.tensor(sides).float()
    left = torch.full_like(sides, 202)
    left[:cut] = 0
    boxes = torch.stack([left, left * 0 + 202, left + sides, sides + 202], 1)
    zeros = torch.zeros(len(sides)).long()
    data = TrainingBoxes(boxes, zeros, zeros, torch.tensor([[512, 512]]), ("thing",))
    return area_report(data, model or nn.Identity())


def suggestions(*args, **kwargs) -> dict:
    """Values and reasons by setting."""
    _, found = suggest(report_on(*args, **kwargs))
    return {s.setting: (s.value, s.reason) for s in found}


def test_large_objects_need_no_area_weight():
    weighting, found = suggest(report_on([40, 90, 120, 200] * 5))
    assert weighting is None
    gamma = found[0]
    assert gamma.setting == "area_weight.gamma"
    assert gamma.value == 0
    assert "95% of the boxes are above 40 px" in gamma.reason
    assert "you need no area weight" in gamma.reason


def test_objects_of_one_size_need_no_area_weight():
    gamma, reason = suggestions([12] * 20)["area_weight.gamma"]
    assert gamma == 0
    assert "would shift 0.0% of the loss" in reason


def test_few_small_objects_need_no_area_weight():
    # 30 px: 32 / 30 = 1.1 moves less than 5 %
    gamma, reason = suggestions([30] * 4 + [100] * 16)["area_weight.gamma"]
    assert gamma == 0
    assert "max_weight=1.1" in reason


def test_small_and_large_objects():
    weighting, found = suggest(report_on([10] * 10 + [60] * 10))
    values = {s.setting: s.value for s in found}
    assert values["area_weight.gamma"] == 0.5
    assert values["area_weight.ref_area"] == 32**2
    assert values["area_weight.max_weight"] == 3.2
    # Of the same targets, 3.2 and 1 with a mean of 2.1
    assert weighting.factors.tolist() == pytest.approx(
        [3.2 / 2.1] * 10 + [1 / 2.1] * 10
    )
    assert f"shift {(3.2 / 2.1 - 1) / 2:.0%} of the loss" in found[0].reason


def test_tiny_objects_are_told_apart():
    # Weights of 1 to 4 from 16 to 4 px, not from 32 to 8 px
    values = suggestions([4] * 5 + [8] * 5 + [16] * 5)
    assert values["area_weight.ref_area"][0] == 16**2
    assert values["area_weight.max_weight"][0] == 4


def test_cut_boxes_are_left_out():
    values = suggestions([10] * 10 + [100] * 10, cut=10)
    assert values["area_weight.gamma"][0] == 0
    assert values["crop"][0] == "larger"
    assert "50% of the boxes" in values["crop"][1]
    assert "crop" not in suggestions([100] * 8 + [10] * 2, cut=2)


def test_all_boxes_cut():
    values = suggestions([10, 100], cut=2)
    assert values["area_weight.gamma"][0] == 0.5


@pytest.mark.parametrize(
    ("sides", "p2"),
    [
        # From 202 to 210 there is one row of stride 8, to 214 there are two
        ([8] * 2 + [100] * 8, True),
        ([8] * 2 + [100] * 9, False),
        ([14] * 10, False),
    ],
    ids=["one in five", "fewer", "four priors"],
)
def test_p2_for_boxes_with_few_priors(make_head, sides, p2):
    value, reason = suggestions(sides, make_head())["P2"]
    assert value is p2
    assert "fewer than 4 priors of stride 8" in reason


def test_p2_is_not_asked_of_a_model_without_priors():
    assert "P2" not in suggestions([8] * 10)


def test_min_side_where_boxes_hold_no_prior(make_head):
    sides = [1] + [100] * 9  # (202, 203) holds no multiple of 4
    sparse = make_head(train_cfg=dict(assigner=SPARSE))
    value, reason = suggestions(sides, sparse)["assigner.min_side"]
    assert value == 16
    assert "10% of the boxes hold no prior" in reason
    assert "assigner.min_side" not in suggestions([100] * 10, sparse)
    assert "assigner.min_side" not in suggestions(sides, make_head())  # stock: no such


@pytest.mark.parametrize(
    ("side", "scale"),
    [(4, 2.0), (10, 1.75), (16, 1.0), (63, 1.0), (64, 0.5)],
)
def test_image_scale(side, scale):
    assert suggestions([side] * 3 + [200] * 10)["image scale"][0] == scale
