"""Size-aware heads on mmyolo's beside YOLOv8's."""

import pytest
import torch

from tests.test_models.test_dense_heads.yolo_heads import (
    HEADS,
    build,
    samples,
    set_epoch,
    training_step,
)

every_head = pytest.mark.parametrize("name", HEADS)
POWER = dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0)
NEUTRAL = {
    "no area weight": dict(area_weight=None),
    "weight 1": dict(area_weight=dict(type="PowerAreaWeight", gamma=0.0)),
    "strength 0": dict(area_weight=POWER, strength=0.0),
    "lambda 0": dict(
        area_weight=None, loss_bg=dict(type="BgPenaltyLoss", lambda_bg=0.0)
    ),
}
BATCHES = {"many": (30, 25), "few": (1, 3), "one image empty": (7, 0), "none": (0, 0)}


@pytest.fixture(autouse=True, params=[0, 5])
def _epoch(request):
    set_epoch(request.param)


@pytest.mark.parametrize("boxes", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("options", NEUTRAL.values(), ids=NEUTRAL)
@every_head
def test_neutral_settings_equal_stock_bit_for_bit(name, options, boxes):
    expected, expected_grads = training_step(build(name, is_ours=False), samples(boxes))
    losses, grads = training_step(build(name, **options), samples(boxes))
    for key, value in expected.items():
        assert torch.equal(losses[key], value), key
    assert all(map(torch.equal, grads, expected_grads))
    assert len(grads) == len(expected_grads)
