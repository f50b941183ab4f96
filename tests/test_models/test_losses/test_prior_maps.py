import torch

from mmareaaware.models.losses import PriorMaps, PriorPlaces

COUNTS = (12, 6, 2)  # priors of each level
IMAGE, PRIOR = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 11, 12, 18, 19])


def random_maps(channels=3) -> PriorMaps:
    generator = torch.Generator().manual_seed(0)
    levels = [
        torch.randn(3, channels, n, generator=generator).requires_grad_()
        for n in COUNTS
    ]
    return PriorMaps(levels, PriorPlaces(COUNTS, levels[0].device))


def test_rows_and_their_gradient_are_those_of_the_joint_tensor():
    maps = random_maps()
    upstream = torch.randn(len(IMAGE), 3, generator=torch.Generator().manual_seed(1))
    rows, expected = maps.rows(IMAGE, PRIOR), maps.dense[IMAGE, PRIOR]
    assert torch.equal(rows, expected)
    grads = torch.autograd.grad(rows, maps.levels, upstream)
    expected = torch.autograd.grad(expected, maps.levels, upstream)
    assert all(map(torch.equal, grads, expected))
    assert any(grad.count_nonzero() for grad in grads)


def test_values_are_those_of_the_joint_tensor():
    maps, channel = random_maps(), torch.tensor([2, 0, 1, 1, 0])
    assert torch.equal(
        maps.values(IMAGE, PRIOR, channel), maps.dense[IMAGE, PRIOR, channel]
    )


def test_who_asks_without_gradient_first_takes_it_from_nobody():
    maps = random_maps()
    with torch.no_grad():  # as a probe does that listens to the loss
        maps.dense.sum()
    grads = torch.autograd.grad(maps.dense.sum(), maps.levels)
    assert all((grad == 1).all() for grad in grads)
