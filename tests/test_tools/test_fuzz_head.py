"""Random inputs of the head."""

import json

import pytest

TOOL = "benchmark/fuzz_head.py"


def test_all_is_finite_or_refused(run_tool, tmp_path):
    run_tool(TOOL, f"--out={tmp_path}", "--cases=150")
    results = json.loads((tmp_path / "fuzz_head.json").read_text())["results"]
    kinds = {result["outcome"].partition(":")[0] for result in results}
    assert kinds == {"finite", "refused"}
    assert sum(result["cases"] for result in results) == 150


def test_what_is_wrong_is_found(run_tool, monkeypatch, tmp_path):
    """Not a number in a loss, and what nobody refuses."""
    from mmareaaware.models.dense_heads import area_aware_yolov8_head as module

    monkeypatch.setattr(module, "check_ground_truth", lambda *args: None)
    with pytest.raises(SystemExit):
        run_tool(TOOL, f"--out={tmp_path}", "--cases=60")
    text = (tmp_path / "fuzz_head.json").read_text()
    assert "WRONG: not finite" in text
    assert "WRONG: trained on what cannot be trained on" in text
