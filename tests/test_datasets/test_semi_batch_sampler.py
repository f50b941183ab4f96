from itertools import chain
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import DATA_SAMPLERS, DATASETS
from mmengine.runner import Runner
from torch import distributed
from torch.utils.data import ConcatDataset, Dataset

from mmareaaware.datasets import SemiBatchSampler
from tests.two_processes import rank_0_of_2


class Numbers(Dataset):
    """As many items as it says; each is its source and index."""

    def __init__(self, source: int, length: int) -> None:
        self.source, self.length = source, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.source, index


def both(labelled: int, unlabelled: int) -> ConcatDataset:
    return ConcatDataset([Numbers(0, labelled), Numbers(1, unlabelled)])


def make(labelled=7, unlabelled=20, batch_size=4, ratio=(1, 3), seed=0, ranks=(0, 1)):
    """For a rank and the number of ranks."""
    with patch("mmengine.dataset.sampler.get_dist_info", lambda: ranks):
        sampler = DefaultSampler(both(labelled, unlabelled), seed=seed)
    return SemiBatchSampler(sampler, batch_size, ratio)


def batches(sampler: SemiBatchSampler, epoch: int) -> list[list[int]]:
    sampler.sampler.set_epoch(epoch)
    result = list(sampler)
    assert len(result) == len(sampler)
    return result


SIZES = [
    (7, 20, 4, (1, 3)),
    (2, 33, 8, (1, 1)),  # fewer labelled images than a batch has
    (50, 9, 6, (2, 1)),  # more labelled ones than an epoch takes
    (1, 1, 2, (1, 1)),
    (5, 3, 16, (1, 3)),  # fewer unlabelled images than a batch has
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_epochs(size, world_size):
    labelled, unlabelled, batch_size, ratio = size
    per_batch = batch_size * ratio[0] // sum(ratio)
    samplers = [make(*size, ranks=(r, world_size)) for r in range(world_size)]
    labelled_row = []
    for epoch in range(5):
        per_rank = [batches(s, epoch) for s in samplers]
        assert len({len(b) for b in per_rank}) == 1
        steps = list(zip(*per_rank, strict=True))
        for batch in chain(*steps):
            assert len(batch) == batch_size
            assert all(i < labelled for i in batch[:per_batch])
            assert all(labelled <= i < labelled + unlabelled for i in batch[per_batch:])
        # One pass: each as often as any other, but for what fills the last batch up
        row = [i for batch in chain(*steps) for i in batch[per_batch:]]
        assert len(row) - unlabelled < world_size * (batch_size - per_batch)
        assert len(set(row)) == len(set(row[:unlabelled])) == unlabelled
        labelled_row += [i for batch in chain(*steps) for i in batch[:per_batch]]
    # Passes that do not stop at the end of an epoch
    while labelled_row:
        part, labelled_row = labelled_row[:labelled], labelled_row[labelled:]
        assert len(set(part)) == len(part)


def test_ranks_share_what_one_process_draws():
    """In each iteration two ranks draw the images of one with twice the batch."""
    one = make(batch_size=8, ratio=(1, 3))
    two = [make(batch_size=4, ratio=(1, 3), ranks=(r, 2)) for r in range(2)]
    for epoch in range(3):
        for whole, *parts in zip(
            batches(one, epoch), *(batches(s, epoch) for s in two), strict=True
        ):
            assert sorted(whole) == sorted(chain(*parts))
    unlabelled = [{i for b in batches(s, 0) for i in b[1:]} for s in two]
    assert len(unlabelled[0] & unlabelled[1]) <= 4  # those that fill up


def test_order_depends_on_seed_and_epoch_alone():
    first = [batches(make(), epoch) for epoch in range(4)]
    sampler = make()
    assert [batches(sampler, epoch) for epoch in range(4)] == first
    assert batches(make(), 3) == first[3]  # resumed
    for part in (slice(0, 1), slice(1, 4)):  # labelled and unlabelled images
        rows = [[b[part] for b in epoch] for epoch in first]
        assert all(rows[0] != row for row in rows[1:])
        assert [b[part] for b in batches(make(seed=1), 0)] != rows[0]


def test_labelled_and_unlabelled_orders_differ():
    (batch,) = batches(make(32, 32, 64, (1, 1)), 0)
    assert batch[:32] != [i - 32 for i in batch[32:]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=6), "batch_size=6 cannot be split 1:3: set a multiple of 4"),
        (dict(batch_size=0), "batch_size=0 cannot be split"),
        (dict(ratio=(1, 0)), "two positive whole numbers"),
        (dict(ratio=(0.5, 0.5)), r"got \(0.5, 0.5\)"),
        (dict(ratio=(1, 2, 1)), r"got \(1, 2, 1\)"),
        (dict(labelled=0), "no labelled image"),
        (dict(unlabelled=0), "no unlabelled image.*filter_empty_gt"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_wrong_sampler_and_data_set():
    with pytest.raises(ValueError, match="got InfiniteSampler"):
        SemiBatchSampler(InfiniteSampler(both(3, 3)), 2)
    with pytest.raises(ValueError, match="got Numbers"):
        SemiBatchSampler(DefaultSampler(Numbers(0, 3)), 2)
    three = both(3, 3)
    three.datasets.append(Numbers(2, 3))
    with pytest.raises(ValueError, match="got ConcatDataset of 3"):
        SemiBatchSampler(DefaultSampler(three), 2)


LOADER = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="SemiBatchSampler", source_ratio=[1, 3]),
    collate_fn=dict(type="default_collate"),
)


@pytest.fixture
def loader_config(monkeypatch):
    for registry in (DATASETS, DATA_SAMPLERS):
        monkeypatch.setattr(registry, "_module_dict", dict(registry._module_dict))
    DATASETS.register_module(name="Both", module=both)
    return dict(
        LOADER,
        collate_fn=dict(type="pseudo_collate"),
        dataset=dict(type="Both", labelled=7, unlabelled=20),
    )


def test_mmengine_builds_it_and_sets_its_epoch(loader_config):
    loader = Runner.build_dataloader(loader_config, seed=5)
    assert len(loader) == 7

    class AtEpoch:
        train_loop = type("Loop", (), dict(dataloader=loader))

    rows = []
    for epoch in (0, 1):
        AtEpoch.epoch = epoch
        DistSamplerSeedHook().before_train_epoch(AtEpoch)
        items = list(loader)
        assert [sources for sources, _ in items] == [(0, 1, 1, 1)] * 7
        rows.append(
            [(torch.tensor(i) + 7 * torch.tensor(k)).tolist() for k, i in items]
        )
        assert rows[-1] == batches(make(seed=5), epoch)
    assert rows[0] != rows[1]


def drawn_by_both(rank, world_size):
    """What each rank's loader gives in three epochs, and a new one in the third."""

    def rows(loader, epoch):
        runner = SimpleNamespace(
            epoch=epoch, train_loop=SimpleNamespace(dataloader=loader)
        )
        DistSamplerSeedHook().before_train_epoch(runner)
        return [
            list(zip(*(n.tolist() for n in batch), strict=True)) for batch in loader
        ]

    def loader():
        config = dict(LOADER, dataset=both(labelled=7, unlabelled=24))
        return Runner.build_dataloader(config, seed=5)

    first = loader()
    drawn = [rows(first, epoch) for epoch in range(3)]
    results = [None] * world_size
    distributed.all_gather_object(results, (drawn, rows(loader(), 2)))
    return results


def test_two_processes(free_port):
    per_rank = rank_0_of_2(drawn_by_both, free_port)
    everything = [(1, index) for index in range(24)]
    for epoch in range(3):
        seen = [
            [item for batch in drawn[epoch] for item in batch if item[0] == 1]
            for drawn, _ in per_rank
        ]
        assert len(seen[0]) == len(seen[1]) == 12
        assert sorted(seen[0] + seen[1]) == everything
    for drawn, resumed in per_rank:
        assert resumed == drawn[2] != drawn[1]
