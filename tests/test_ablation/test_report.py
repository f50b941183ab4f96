"""The files of a report, with numbers that are easily computed by hand."""

import csv
import json
import shutil

import matplotlib.pyplot as plt
import pytest

from mmareaaware.ablation import Grid, restore_runs, write_report

AP = dict(baseline=(0.25, 0.5), power=(0.26, 0.51), other=(0.2, 0.5))
FP = dict(baseline=(4.0, 2.0), power=(3.0, 1.0), other=(3.0, None))


@pytest.fixture
def grid(grid_file) -> Grid:
    return Grid(grid_file)


def finish(out, setting, seed) -> None:
    folder = out / setting / f"seed{seed}"
    folder.mkdir(parents=True)
    content = dict(
        metrics={
            "coco/bbox_mAP": AP[setting][seed],
            "coco/extra": 1.0,
            "background/fp": FP[setting][seed],
        },
        train_seconds=600 * (seed + 1),
        environment=dict(torch="2", data_root="hit_uav"),
    )
    (folder / "metrics.json").write_text(json.dumps(content))


@pytest.fixture
def out(grid, tmp_path):
    path = tmp_path / "work_dirs/out"
    for seed in (0, 1):
        for setting in ("power", "baseline", "other"):
            finish(path, setting, seed)
    return path


def test_tables_and_plot(grid, out):
    write_report(grid, out)
    lines = (out / "table.md").read_text().splitlines()
    # sd of two numbers: their distance / √2
    assert "| setting | seeds | AP ↑ | FP ↓ | training, min |" in lines
    assert "| baseline | 2 | 37.50 ± 17.68 | 3.00 ± 1.41 | 15 |" in lines
    assert "| other | 2 | 35.00 ± 21.21 | 3.00 (n = 1) | 15 |" in lines
    # half width for two differences: 12.7062 · distance / 2
    assert "| power | **+1.00 [+1.00, +1.00]** | **-1.00 [-1.00, -1.00]** |" in lines
    assert "| other | -2.50 [-34.27, +29.27] | -1.00 (n = 1) |" in lines
    assert any("of 3 intervals, that is to be expected of 0" in x for x in lines)

    with (out / "table.csv").open() as file:
        rows = {(r["setting"], r["metric"]): r for r in csv.DictReader(file)}
    row = rows["other", "coco/bbox_mAP"]
    assert float(row["difference"]) == pytest.approx(-2.5)
    assert float(row["interval_low"]) == pytest.approx(-2.5 - 12.7062 * 2.5, abs=1e-3)
    assert row["num_pairs"] == row["num_seeds"] == "2"
    assert rows["other", "background/fp"]["interval_low"] == ""
    assert (out / "differences.png").stat().st_size > 10_000


def test_record_names_no_path_of_this_machine(grid_file, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "grids")
    write_report(Grid("grid.py"), out)
    for name in ("results.json", "table.md"):
        text = (out / name).read_text()
        assert "tools/ablation.py grid.py --out out --seeds" in text
        assert str(tmp_path.parent) not in text


def test_record(grid, out):
    write_report(grid, out)
    results = json.loads((out / "results.json").read_text())
    assert results["command"] == (
        "DATA_ROOT=…/hit_uav python tools/ablation.py grids/grid.py "
        "--out work_dirs/out --seeds 0 1"
    )
    assert "--settings" not in results["command"]  # it has all of the grid
    shutil.rmtree(out / "other")
    write_report(grid, out)
    command = json.loads((out / "results.json").read_text())["command"]
    assert command.endswith("--seeds 0 1 --settings baseline power")
    assert results["base"] == "base.py"
    assert results["environments"] == [dict(torch="2", data_root="hit_uav")]
    order = [(run["setting"], run["seed"]) for run in results["runs"]]
    assert order == [(s, k) for s in ("baseline", "power", "other") for k in (0, 1)]
    last = results["runs"][-1]
    assert last["metrics"] == {
        "coco/bbox_mAP": 0.5,
        "coco/extra": 1.0,
        "background/fp": None,
    }
    assert last["environment"] == 0


def test_the_command_says_how_much_was_labelled(grid, out):
    path = out / "power/seed1/metrics.json"
    content = json.loads(path.read_text())
    content["environment"]["percent"] = "5"
    path.write_text(json.dumps(content))
    write_report(grid, out)
    command = json.loads((out / "results.json").read_text())["command"]
    assert command.startswith("DATA_ROOT=…/hit_uav PERCENT=5 python tools/")


def test_runs_of_several_environments(grid, out):
    path = out / "power/seed1/metrics.json"
    content = json.loads(path.read_text())
    content["environment"]["torch"] = "3"
    path.write_text(json.dumps(content))
    write_report(grid, out)
    results = json.loads((out / "results.json").read_text())
    noted = [results["environments"][r["environment"]] for r in results["runs"]]
    assert [n["torch"] for n in noted] == ["2", "2", "2", "3", "2", "2"]
    assert "torch 2, data_root hit_uav; 1 more" in (out / "table.md").read_text()


def test_unfinished_grids(grid, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match=r"no run of .*grid.py is finished"):
        write_report(grid, out)
    finish(out, "power", 0)
    write_report(grid, out)
    assert "| power | 1 | 26.00 | 3.00 | 10 |" in (out / "table.md").read_text()
    assert not (out / "differences.png").exists()
    finish(out, "baseline", 0)
    write_report(grid, out)
    assert "| power | +1.00 | -1.00 |" in (out / "table.md").read_text()
    assert (out / "differences.png").exists()


def test_a_metric_that_no_run_has(grid_file, out):
    text = grid_file.read_text().replace("background/fp", "background/pf")
    grid_file.write_text(text)
    write_report(Grid(grid_file), out)
    text = (out / "table.md").read_text()
    assert "No run has: FP." in text
    assert "FP ↓" not in text


def test_a_metric_that_the_baseline_has_not(grid, out):
    """As where it was trained before there was this metric."""
    write_report(grid, out)
    picture = plt.imread(out / "differences.png")
    for path in out.glob("baseline/seed*/metrics.json"):
        content = json.loads(path.read_text())
        content["metrics"]["background/fp"] = None
        path.write_text(json.dumps(content))
    write_report(grid, out)
    text = (out / "table.md").read_text()
    assert "| setting | seeds | AP ↑ | FP ↓ | training, min |" in text
    assert "| baseline | 2 | 37.50 ± 17.68 | – | 15 |" in text
    assert "| setting | AP ↑ |\n" in text
    with_one_panel = plt.imread(out / "differences.png")
    assert with_one_panel.shape[1] < picture.shape[1]


def test_a_record_goes_on_elsewhere(grid, out, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "data/hit_uav")
    write_report(grid, out)
    record = out / "results.json"
    there = tmp_path / "work_dirs/there"
    finish(there, "power", 0)
    of_its_own = (there / "power/seed0/metrics.json").read_text()
    restore_runs(grid, there, record)
    assert (there / "power/seed0/metrics.json").read_text() == of_its_own
    write_report(grid, there)
    here, restored = (
        json.loads((f / "results.json").read_text()) for f in (out, there)
    )
    assert restored["runs"] == here["runs"]
    assert restored["environments"] == here["environments"]


def test_a_record_of_other_data_is_refused(grid, out, tmp_path, monkeypatch):
    write_report(grid, out)
    monkeypatch.setenv("DATA_ROOT", "data/hrplanes")
    with pytest.raises(
        ValueError, match="is of data_root='hit_uav', and DATA_ROOT now"
    ):
        restore_runs(grid, tmp_path / "there", out / "results.json")
    assert not (tmp_path / "there").exists()


def test_a_record_of_another_precision_is_refused(grid, out, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "data/hit_uav")
    write_report(grid, out)
    monkeypatch.setenv("OPTIM_WRAPPER", "BFloat16OptimWrapper")
    with pytest.raises(ValueError, match="is of optim_wrapper=None, and OPTIM_WRAPPER"):
        restore_runs(grid, tmp_path / "there", out / "results.json")


def test_a_record_of_another_grid_is_refused(grid, out, tmp_path):
    write_report(grid, out)
    record = out / "results.json"
    results = json.loads(record.read_text())
    record.write_text(json.dumps(results | dict(grid="grids/another.py")))
    with pytest.raises(ValueError, match=r"is of grids/another.py, and this is grids"):
        restore_runs(grid, tmp_path / "there", record)
    assert not (tmp_path / "there").exists()


def test_a_record_keeps_the_environment_of_each_run(grid, out, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "data/hit_uav")
    path = out / "power/seed1/metrics.json"
    content = json.loads(path.read_text())
    content["environment"]["torch"] = "3"
    path.write_text(json.dumps(content))
    write_report(grid, out)
    there = tmp_path / "work_dirs/there"
    restore_runs(grid, there, out / "results.json")
    assert json.loads((there / "power/seed1/metrics.json").read_text()) == content
