"""How often images are drawn, by whom, and that a resumed run goes on."""

from collections import Counter
from itertools import pairwise

import pytest
from mmengine.registry import DATA_SAMPLERS

from mmareaaware.datasets import SmallObjectSampler, small_object_sampler

SMALL = dict(bbox=[0, 0, 10, 10], ignore_flag=0)
LARGE = dict(bbox=[0, 0, 40, 40], ignore_flag=0)
IGNORED = dict(bbox=[0, 0, 10, 10], ignore_flag=1)


class Images:
    """A data set that knows what is in its images."""

    def __init__(self, *images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def get_data_info(self, index):
        return dict(instances=self.images[index])


# The first ten have small objects.
MIXED = Images(*[[LARGE, SMALL]] * 10, *[[LARGE, IGNORED]] * 20, *[[]] * 10)


def draw(dataset, epoch=0, **options) -> list[int]:
    sampler = SmallObjectSampler(dataset, **{"seed": 0, **options})
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


def test_frequency():
    """Ten at 3 and thirty at 1 on forty draws: 20 : 20 in each epoch."""
    total = Counter()
    for epoch in range(60):
        drawn = draw(MIXED, epoch, times=3)
        assert len(drawn) == 40
        counts = Counter(drawn)
        assert sum(counts[index] for index in range(10)) in (19, 20, 21)
        assert all(counts[index] == 2 for index in range(10))
        assert all(counts[index] <= 1 for index in range(10, 40))
        total.update(counts)
    assert all(20 <= total[index] <= 60 for index in range(10, 40))  # 40 expected


@pytest.mark.parametrize(
    "dataset", [Images(*[[SMALL]] * 7), Images(*[[LARGE]] * 7), Images(*[[]] * 7)]
)
def test_all_alike(dataset):
    """Each image once, shuffled."""
    drawn = draw(dataset, times=3)
    assert sorted(drawn) == list(range(7))
    assert drawn != draw(dataset, 1, times=3)


def test_depends_on_seed_and_epoch_alone():
    sampler = SmallObjectSampler(MIXED, seed=5)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[2] == draw(MIXED, 2, seed=5)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[2] != draw(MIXED, 2, seed=6)


def test_ranks_share_an_epoch(monkeypatch):
    whole = draw(MIXED)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(
            small_object_sampler, "get_dist_info", lambda r=rank: (r, 3)
        )
        parts.append(draw(MIXED))
    assert [len(part) for part in parts] == [14, 14, 14]
    together = [index for step in zip(*parts, strict=True) for index in step]
    assert together == whole + whole[:2]


def test_built_by_mmengine():
    config = dict(type="SmallObjectSampler", times=4, max_area=50)
    sampler = DATA_SAMPLERS.build(config, default_args=dict(dataset=MIXED, seed=0))
    assert (sampler.weights == 1).all()  # none is below 50 px²


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (MIXED, dict(times=0.5), "times must be at least 1, got 0.5"),
        (MIXED, dict(max_area=0), "max_area must be above 0 px², got 0"),
        ([1, 2], {}, "needs a data set with get_data_info, got list"),
    ],
)
def test_wrong_values(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        SmallObjectSampler(dataset, **options)


def test_draws_of_an_image_are_apart():
    """Of ten images drawn twice few follow themselves, by chance."""
    drawn = [draw(MIXED, epoch, times=3) for epoch in range(60)]
    assert sum(a == b for epoch in drawn for a, b in pairwise(epoch)) < 60


def test_an_area_of_max_area_is_not_small():
    edge = dict(bbox=[0, 0, 32, 32], ignore_flag=0)
    sampler = SmallObjectSampler(Images([edge], [SMALL]), seed=0)
    assert sampler.weights.tolist() == [1, 2]
