import json

import pytest

BASE = """
custom_hooks = [dict(type="EMAHook")]
model = dict(head=dict(weight=None, gain=0.5), test_cfg=dict(score_thr=0.1))
randomness = dict(seed=0, deterministic=True)
test_evaluator = dict(type="A")
"""
GRID = """
base = "../base.py"
seeds = [0, 1]
baseline = "baseline"
metrics = [
    dict(key="coco/bbox_mAP", name="AP", scale=100),
    dict(key="background/fp", name="FP", better="lower"),
]
settings = dict(
    baseline=dict(),
    power=dict(
        model=dict(head=dict(weight=dict(_delete_=True, type="P"))),
        extra_hooks=[dict(type="B", x=1)],
    ),
    other=dict(base="../other.py"),
)
"""


@pytest.fixture
def grid_file(tmp_path, monkeypatch):
    """A grid over tiny base configs, below the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "other.py").write_text('_base_ = "base.py"\nmodel = dict(depth=3)\n')
    (tmp_path / "grids").mkdir()
    path = tmp_path / "grids/grid.py"
    path.write_text(GRID)
    return path


def write_run(out, setting, seed, metrics) -> None:
    """What a finished run leaves."""
    folder = out / setting / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    content = dict(metrics=metrics, train_seconds=60, environment=dict(torch="2"))
    (folder / "metrics.json").write_text(json.dumps(content))
