"""What a detector gets wrong, image by image, the worst first.

    python tools/browse_predictions.py CONFIG CHECKPOINT --out work_dirs/browse

Runs the test set and writes for each image its ground truth beside the detections, as
`001_<name>.png` and so on, sorted by the number of false alarms and missed boxes;
`overview.png` with the worst of them; and `counts.json`. Detections are matched as
BackgroundFPMetric does it, and false alarms have its kinds: on background (bg), a
second one of a box (dup), in a wrong place (loc), of a wrong class (cls), or both.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from mmengine.config import DictAction
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from mmareaaware.engine.launch import config_or_exit
from mmareaaware.visualization.browse import drawable, write_pictures

ROWS_OF_TABLE = 20


def print_table(counts: list[dict], score_thr: float) -> None:
    """The worst images, and the sum of all."""
    names = [name for name in counts[0] if name != "image"]
    total = dict(image=f"all {len(counts)} images")
    total |= {name: sum(row[name] for row in counts) for name in names}
    table = Table(title=f"detections with a score from {score_thr:g}, worst images")
    table.add_column("image")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in counts[:ROWS_OF_TABLE]:
        table.add_row(Path(row["image"]).name, *(str(row[name]) for name in names))
    table.add_section()
    table.add_row(*map(str, total.values()))
    Console(width=max(100, Console().width)).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/browse"))
    parser.add_argument(
        "--score-thr", type=float, default=0.25, help="of detections that count"
    )
    parser.add_argument("--num", type=int, help="draw so many of the worst images only")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    if not args.checkpoint.is_file():
        parser.error(f"there is no checkpoint {args.checkpoint}")
    if args.num is not None and args.num < 1:
        parser.error(f"--num must be at least 1, got {args.num}")
    if any(args.out.glob("*.png")):
        parser.error(f"--out {args.out} has pictures already, of other ranks perhaps")
    return args


def main() -> None:
    args = parse_args()
    cfg = config_or_exit(args.config, args.cfg_options)
    cfg.load_from = str(args.checkpoint)
    cfg.work_dir = str(args.out / "log")
    cfg.test_evaluator = dict(type="MatchedImages", score_thr=args.score_thr)
    runner = Runner.from_cfg(cfg)
    runner.test()
    (metric,) = runner.test_evaluator.metrics
    classes = drawable(metric.dataset_meta["classes"])
    counts = write_pictures(metric.images, classes, args.out, args.num)
    print_table(counts, args.score_thr)
    print(f"pictures: {args.out}")


if __name__ == "__main__":
    main()
