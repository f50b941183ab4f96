"""Random inputs of the head."""

import json
import sys

import pytest


@pytest.fixture
def fuzz_head(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "tools/benchmark"))
    import fuzz_head

    return fuzz_head


def test_all_is_finite_or_refused(fuzz_head, monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["fuzz_head.py", f"--out={tmp_path}", "--cases=150"]
    )
    fuzz_head.main()
    results = json.loads((tmp_path / "fuzz_head.json").read_text())["results"]
    kinds = {result["outcome"].partition(":")[0] for result in results}
    assert kinds == {"finite", "refused"}
    assert sum(result["cases"] for result in results) == 150


def test_what_is_wrong_is_found(fuzz_head, monkeypatch, tmp_path):
    """Not a number in a loss, and what nobody refuses."""
    from mmareaaware.models.dense_heads import area_aware_yolov8_head as module

    monkeypatch.setattr(module, "check_ground_truth", lambda *args: None)
    monkeypatch.setattr(
        sys, "argv", ["fuzz_head.py", f"--out={tmp_path}", "--cases=60"]
    )
    with pytest.raises(SystemExit):
        fuzz_head.main()
    text = (tmp_path / "fuzz_head.json").read_text()
    assert "WRONG: not finite" in text
    assert "WRONG: trained on what cannot be trained on" in text
