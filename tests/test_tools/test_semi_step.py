"""That the benchmark of an iteration measures what it says."""

from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace

import pytest


@pytest.fixture
def semi_step(root):
    spec = spec_from_file_location("semi_step", root / "tools/benchmark/semi_step.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_iterations(semi_step):
    case = dict(model="yolov8-n", boxes=3, size=96, images=2)
    iterations = semi_step.Iterations(case)
    semi, detector = iterations.semi, iterations.detector
    weights = [next(network.parameters()) for network in (semi.student, detector)]
    for name, trained in (("burn-in", 0), ("full", 0), ("supervised", 1)):
        before = [weight.detach().clone() for weight in weights]
        iterations.of(name)()
        changed = [not b.equal(w) for b, w in zip(before, weights, strict=True)]
        assert changed == [trained == 0, trained == 1]
        labels = semi.last_pseudo_labels
        if name == "burn-in":
            assert labels is None
        if name == "full":
            # Three of each kind per image; what a view cuts off is not there
            assert 4 <= len(labels.boxes) <= 6
            assert 4 <= len(labels.ignored) <= 6
    iterations.of("teacher's detections")()


def test_a_full_iteration_is_compared_with_its_parts(semi_step, monkeypatch):
    monkeypatch.setattr(semi_step, "peak_memory", lambda *_: 1.0)
    seconds = {"supervised": 1.0, "burn-in": 1.0, "full": 3.0, "teacher": 0.5}
    monkeypatch.setattr(
        semi_step,
        "interleaved_times",
        lambda steps, rounds: {
            name: [seconds[name.split("'")[0]]] * rounds for name in steps
        },
    )
    case = dict(model="yolov8-n", boxes=2, size=64, images=1)
    labels = SimpleNamespace(boxes=[1], ignored=[1, 2])

    class Iterations:
        def __init__(self, case):
            self.semi = SimpleNamespace(last_pseudo_labels=None)  # as in the burn-in

        def of(self, name):
            return name

        def full(self):
            self.semi.last_pseudo_labels = labels

    monkeypatch.setattr(semi_step, "Iterations", Iterations)
    result = semi_step.measure(case, rounds=3)
    aim, parts = semi_step.AIMS["full"]
    assert result["seconds"][parts] == [2.5] * 3
    assert aim == 1.15
    assert (result["pseudo_boxes"], result["ignored_regions"]) == (1, 2)
