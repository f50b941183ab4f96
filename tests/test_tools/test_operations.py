"""How many operations a step of ours asks a device for."""

import pytest
import torch

from mmareaaware.benchmarking.operations import count_operations
from tests.conftest import NUM_CLASSES, batch, features

SPARSE = dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES)
POWER = dict(type="PowerAreaWeight")
ALL_ON = dict(
    loss_cls=dict(
        type="AreaAwareBCELoss",
        area_weight=POWER,
        class_weight=dict(type="EffectiveNumberWeight"),
        margin=dict(type="LDAMMargin"),
        class_counts=[1, 2, 3, 4, 5],
    ),
    loss_bg=dict(type="BgPenaltyLoss"),
)


@pytest.fixture
def count(make_head):
    """Operations and waits of assignment and losses, forward and backward."""

    def count(loss_cls=None, **settings):
        head = make_head(
            train_cfg=dict(assigner=dict(SPARSE)),
            loss_cls=loss_cls or dict(type="AreaAwareBCELoss"),
            **{k: v for k, v in settings.items() if k != "samples"},
        )
        samples = batch((25, 3)) | settings.get("samples", {})
        maps = [
            [level.detach().requires_grad_() for level in levels]
            for levels in head(features())
        ]

        def step():
            losses = head.loss_by_feat(
                *maps, *map(samples.get, ("bboxes_labels", "img_metas", "ignored"))
            )
            sum(v for k, v in losses.items() if "loss" in k).backward()

        return count_operations(step)

    return count


def test_what_is_counted():
    x = torch.arange(6.0)
    cases = {
        lambda: x.view(2, 3).T[0].unsqueeze(0): (0, 0),
        lambda: torch.empty(3): (0, 0),
        lambda: (x + 1).mul_(2): (2, 0),
        lambda: (x > 2).nonzero(): (2, 1),
        lambda: x.sum().item(): (2, 1),
        lambda: x[x > 2]: (2, 1),
        lambda: x[torch.tensor([1])].tolist(): (1, 1),
    }
    for step, (operations, waits) in cases.items():
        counts = count_operations(step)
        assert counts["waits"] == waits
        assert operations <= counts["operations"] <= operations + 1  # torch.tensor


def test_few_operations_and_two_waits(count):
    plain, everything = count(), count(**ALL_ON)
    # Decoding in `forward` is another six
    assert plain["operations"] <= 305
    assert everything["operations"] <= 380
    assert plain["waits"] == everything["waits"] == 2


def test_what_is_off_costs_nothing(count):
    plain = count()
    silent = count(loss_bg=dict(type="BgPenaltyLoss", lambda_bg=0.0))
    # The zero that is logged, and its way through the sum of the losses
    assert silent["operations"] - plain["operations"] <= 3
    nothing = dict(ignored=torch.zeros(0, 5))
    assert count(samples=nothing) == plain
