"""What a score shift by size is worth: fitted to trained networks, and tested.

    python tools/benchmark/score_shift.py work_dirs/from_coco/baseline/seed* \
        --out work_dirs/score_shift

Takes runs of `tools/ablation.py`. Of each the shift is fitted on the training images by
`tools/analysis/fit_score_shift.py`, and the validation images are tested with it by
`tools/test.py`; without it they were when the run ended. Writes `score_shift.json`;
what is there already is not done again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmareaaware.benchmarking.measuring import write_record
from mmareaaware.engine.resuming import newest_checkpoint

TOOLS = Path(__file__).parents[1]
METRICS = {
    "coco/bbox_mAP": "AP",
    "coco/bbox_mAP_s": "AP small",
    "coco/bbox_mAP_m": "AP medium",
    "background/best_f1": "best F1",
}


def measure(run: Path, out: Path) -> dict:
    """The metrics of a run without a shift and with the one that fits it."""
    content = json.loads((run / "metrics.json").read_text())
    data, seed = content["environment"]["data_root"], run.name.removeprefix("seed")
    folder = out / f"{data}_{run.parent.name}_{run.name}"
    folder.mkdir(parents=True, exist_ok=True)
    shifted, log = folder / "shifted.pth", folder / "log.txt"
    if not shifted.exists():
        checkpoint = newest_checkpoint(run / "train")
        fit = TOOLS / "analysis/fit_score_shift.py"
        call(log, fit, run / "config.py", checkpoint, "--out", shifted)
    if not list(folder.glob("test/*/*.json")):
        test = [TOOLS / "test.py", run / "config.py", shifted]
        test += ["--work-dir", folder / "test", "--cfg-options"]
        call(log, *test, "model.bbox_head.score_shift.type=SizeScoreShift")
    tested = json.loads(max(folder.glob("test/*/*.json")).read_text())
    weights = torch.load(shifted, map_location="cpu")["state_dict"]
    return dict(
        data=data,
        setting=run.parent.name,
        seed=int(seed),
        shifts=weights["bbox_head.score_shift.shifts"].tolist(),
        without={key: content["metrics"][key] for key in METRICS},
        shifted={key: tested[key] for key in METRICS},
    )


def call(log: Path, *command) -> None:
    """Run a tool; where it fails, end with the log that says why."""
    with log.open("a") as file:
        command = [sys.executable, *command]
        result = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if result.returncode:
        raise SystemExit(f"error: {Path(command[1]).name} failed, {log} says why")


def print_table(results: list[dict]) -> None:
    """Mean gain of each data set and setting, in points."""
    table = Table("data", "setting", "networks", "shifted", *METRICS.values())
    for data, setting in dict.fromkeys((r["data"], r["setting"]) for r in results):
        of = [r for r in results if (r["data"], r["setting"]) == (data, setting)]
        cells = [
            "–"
            if of[0]["without"][key] is None
            else f"{statistics.mean(gain(r, key) for r in of):+.2f}"
            for key in METRICS
        ]
        number = sum(any(r["shifts"]) for r in of)
        table.add_row(data, setting, str(len(of)), str(number), *cells)
    Console(width=max(100, Console().width)).print(table)


def gain(result: dict, key: str) -> float:
    return 100 * (result["shifted"][key] - result["without"][key])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders SETTING/seedN")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/score_shift"))
    args = parser.parse_args()
    results = [measure(run.resolve(), args.out) for run in track(args.runs, "runs")]
    print_table(results)
    write_record(args.out / "score_shift.json", results)


if __name__ == "__main__":
    main()
