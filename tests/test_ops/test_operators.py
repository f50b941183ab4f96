"""Every operator against the compiled one, on random cases: recorded, and live."""

import numpy as np
import pytest

import mmareaaware_ops.ext

from .cases import NUM_CASES, OPERATORS
from .record import RECORD, checksum, projections

recorded = np.load(RECORD)


@pytest.mark.parametrize("name", OPERATORS)
def test_equals_recorded(name):
    exact, close = recorded[f"{name}_exact"], recorded[f"{name}_close"]
    assert len(exact) == len(close) == NUM_CASES
    wrong = []
    for seed in range(NUM_CASES):
        result = OPERATORS[name](mmareaaware_ops.ext, seed)
        error = np.abs(projections(result) - close[seed])
        scale = np.maximum(close[seed][:, :1], 1)  # largest magnitude
        if (
            checksum(result) != exact[seed]
            or not (error <= result.tolerance * scale).all()
        ):
            wrong.append(seed)
    assert not wrong


@pytest.mark.parametrize("name", OPERATORS)
def test_equals_compiled(compiled, name):
    wrong = []
    for seed in range(NUM_CASES, 2 * NUM_CASES):
        theirs = OPERATORS[name](compiled, seed)
        ours = OPERATORS[name](mmareaaware_ops.ext, seed)
        right = ours.exact.equal(theirs.exact)
        for a, b in zip(ours.close, theirs.close, strict=True):
            if right and b.numel():
                limit = theirs.tolerance * max(float(b.abs().max()), 1)
                right = bool(((a - b).abs() <= limit).all())
        if not right:
            wrong.append(seed)
    assert not wrong
