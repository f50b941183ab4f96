"""What the augmentations of an epoch are drawn from."""

import random
from types import SimpleNamespace

import pytest
import torch

from mmareaaware.engine.hooks import EpochSeedHook


def drawn(seed: int, epoch: int) -> tuple[float, float]:
    EpochSeedHook().before_train_epoch(SimpleNamespace(seed=seed, epoch=epoch))
    return random.random(), torch.rand(1).item()


def test_it_depends_on_the_epoch_alone():
    before = drawn(3, 7)
    drawn(3, 8)
    assert drawn(3, 7) == before


def test_no_epoch_of_a_seed_is_one_of_another():
    found = {drawn(seed, epoch) for seed in range(5) for epoch in range(10)}
    assert len(found) == 50


def test_ranks_draw_their_own(monkeypatch):
    first = drawn(0, 0)
    monkeypatch.setattr("mmareaaware.engine.hooks.epoch_seed_hook.get_rank", lambda: 1)
    assert drawn(0, 0) != pytest.approx(first)
