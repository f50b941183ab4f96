import pytest
from mmengine import registry

from mmareaaware import check


def test_a_working_installation(capsys):
    assert check.main() == 0
    text = capsys.readouterr().out
    for word in ("mmyolo", "stack", "GPU", "AreaAwareBCELoss", "loss_bg", "OK"):
        assert word in text


def test_all_registries_that_have_something_of_ours():
    with_ours = {
        name
        for name, found in vars(registry).items()
        if isinstance(found, registry.Registry)
        and any("mmareaaware" in cls.__module__ for cls in found.module_dict.values())
    }
    assert with_ours == set(check.REGISTRIES)


@pytest.mark.parametrize("step", ["training_step", "registered"])
def test_a_broken_one_exits_with_one_and_says_why(monkeypatch, capsys, step):
    def broken(*args):
        raise RuntimeError("no image [a/b.so] for this GPU")

    monkeypatch.setattr(check, step, broken)
    assert check.main() == 1
    assert "RuntimeError: no image [a/b.so] for this GPU" in capsys.readouterr().out
