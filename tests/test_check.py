import pytest

from mmareaaware import check


def test_a_working_installation(capsys):
    assert check.main() == 0
    text = capsys.readouterr().out
    for word in ("mmyolo", "stack", "GPU", "AreaAwareBCELoss", "loss_bg", "OK"):
        assert word in text


@pytest.mark.parametrize("step", ["training_step", "registered"])
def test_a_broken_one_exits_with_one_and_says_why(monkeypatch, capsys, step):
    def broken(*args):
        raise RuntimeError("no image [a/b.so] for this GPU")

    monkeypatch.setattr(check, step, broken)
    assert check.main() == 1
    assert "RuntimeError: no image [a/b.so] for this GPU" in capsys.readouterr().out
