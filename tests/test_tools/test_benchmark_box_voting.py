"""That the benchmark of the vote measures a vote."""

import json


def test_a_round(run_tool, tmp_path, monkeypatch):
    votes = []
    monkeypatch.setattr(
        "mmareaaware.models.dense_heads.box_voting.BoxVoting.__call__",
        lambda self, kept, candidates: votes.append((len(kept), len(candidates))),
    )
    run_tool(
        "benchmark/box_voting.py", "--candidates", 300, "--rounds", 1, "--out", tmp_path
    )
    (result,) = json.loads((tmp_path / "box_voting.json").read_text())["results"]
    assert result.keys() == {
        "candidates",
        "network [ms]",
        "NMS [ms]",
        "NMS and vote [ms]",
        "ratio",
    }
    assert [candidates for _, candidates in votes] == [300, 300]  # one to warm up
    assert all(1 < kept < 300 for kept, _ in votes)
