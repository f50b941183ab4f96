"""Two processes with half of the images each against one with all of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from torch import distributed

from tests.semi import build, semi_batch, semi_config, step
from tests.two_processes import rank_0_of_2


def half(batch: dict, rank: int) -> dict:
    """Of four labelled and four unlabelled images."""
    first = dict(sup=2 * rank, unsup_teacher=4 + 2 * rank, unsup_student=4 + 2 * rank)
    return {
        key: {name: branches[name][i : i + 2] for name, i in first.items()}
        for key, branches in batch.items()
    }


def statistics(network) -> list:
    """What BatchNorm has seen."""
    ends = ("running_mean", "running_var")
    named = network.named_buffers()
    return [buffer.numpy().copy() for name, buffer in named if name.endswith(ends)]


def one_iteration(rank, world_size):
    """Statistics of student and teacher before and after the hooks, and what is logged.

    Of each rank.
    """
    from mmareaaware.engine import PseudoLabelMonitorHook, SemiMeanTeacherHook

    batch = semi_batch(num_sup=4, num_unsup=4)
    if world_size == 2:
        batch = half(batch, rank)
    model = build(semi_config())
    logged = {}
    runner = SimpleNamespace(
        model=model,
        hooks=[],
        iter=0,
        max_iters=9,
        train_dataloader=SimpleNamespace(dataset=None),
        message_hub=SimpleNamespace(update_scalar=logged.__setitem__),
    )
    hooks = SemiMeanTeacherHook(momentum=0.6), PseudoLabelMonitorHook(interval=1)
    for hook in hooks:
        hook.before_train(runner)
    step(model, batch)
    networks = model.student, model.teacher
    before = [statistics(network) for network in networks]
    for hook in hooks:
        hook.after_train_iter(runner, 0, batch)
    result = *before, *(statistics(network) for network in networks), logged
    results = [result]
    if world_size == 2:
        results = [None] * 2
        distributed.all_gather_object(results, result)
    return results


def test_both_ranks_have_the_teacher_and_the_log_of_all_images(free_port):
    parts = rank_0_of_2(one_iteration, free_port)
    ((*_, expected),) = one_iteration(0, 1)
    assert expected["train/pseudo_boxes"] > 0
    assert "train/pseudo_recall" in expected
    students, teachers, *_ = zip(*parts, strict=True)
    for *_, new_student, new_teacher, logged in parts:
        assert logged == pytest.approx(expected, rel=1e-5)
        rows = zip(*students, teachers[0], new_student, new_teacher, strict=True)
        for a, b, old, student, teacher in rows:
            mean = (a + b) / 2
            np.testing.assert_allclose(student, mean, rtol=1e-5, atol=1e-6)
            followed = 0.4 * old + 0.6 * mean
            np.testing.assert_allclose(teacher, followed, rtol=1e-5, atol=1e-6)
