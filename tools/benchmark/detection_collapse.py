"""Does a weight on foreground keep detections from collapsing? A run that shows it.

    python tools/benchmark/detection_collapse.py --out work_dirs/detection_collapse

Trains the demo's Faster R-CNN with stock heads on sparse digits, a small one in two of
five images, with foreground weights 1 and 1 (RPN, RoI head: the stock losses) and 5 and
3, on the same data and from the same seeds. Prints a table, writes
`detection_collapse.json` and a plot of the detections per training image over time.
"""

import argparse
import json
from pathlib import Path
from unittest import mock

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from mmareaaware.benchmarking.measuring import write_record
from mmareaaware.datasets import digits
from mmareaaware.whole_file import whole_file, write_whole

CONFIG = (
    Path(__file__).parents[2]
    / "configs/demo/faster-rcnn_r18_fpn_pos-weighted_area-aware_1xb8-12e_digits.py"
)
CLASS = "digit"
WEIGHTS = ((1.0, 1.0), (5.0, 3.0))
SCORE_THR = 0.3
INTERVAL = 10
COLOURS = ("tab:red", "tab:blue")


def write_sparse_digits(root: Path) -> None:
    """The demo's digits, but few, small, of one class, and most images without any."""
    sparse = dict(
        EMPTY_SHARE=0.6, DIGITS_PER_IMAGE=(1, 2), MIN_SIDE=8, MODE_SIDE=12, MAX_SIDE=20
    )
    with mock.patch.multiple(digits, **sparse):
        digits.write_digits(root, num_images=dict(train=320, val=80))
    for path in (root / "annotations").glob("*.json"):
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation["category_id"] = 0
        content["categories"] = [dict(id=0, name=CLASS)]
        write_whole(path, json.dumps(content))


def train(weights: tuple[float, float], seed: int, args: argparse.Namespace) -> dict:
    """Train with the two weights; the monitor's curves and the metrics at the end."""
    cfg = Config.fromfile(CONFIG)
    data = args.out / "data"
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data_root=f"{data}/", metainfo=dict(classes=(CLASS,)))
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator[0].ann_file = f"{data}/annotations/val.json"
    model = cfg.model
    model.rpn_head.update(type="RPNHead")
    model.roi_head.update(type="StandardRoIHead")
    model.roi_head.bbox_head.update(type="Shared2FCBBoxHead")
    del model.rpn_head["area_weight"], model.roi_head.bbox_head["area_weight"]
    model.roi_head.bbox_head.num_classes = 1
    model.train_cfg.rcnn.sampler.num = 256
    model.rpn_head.loss_cls.pos_weight, model.roi_head.bbox_head.loss_cls.pos_weight = (
        weights
    )
    cfg.train_cfg.update(max_epochs=args.epochs, val_interval=args.epochs)
    cfg.param_scheduler[1].T_max = args.epochs
    cfg.default_hooks.logger.interval = INTERVAL
    cfg.custom_hooks[-1].update(interval=INTERVAL, burn_in=0)
    cfg.randomness = dict(seed=seed)
    cfg.visualizer.vis_backends = []
    cfg.log_level = args.log_level
    cfg.work_dir = str(args.out / f"{weights[0]:g}-{weights[1]:g}_seed{seed}")
    runner = Runner.from_cfg(cfg)
    runner.visualizer.close()
    runner.train()
    scalars = runner.message_hub.log_scalars
    names = [k for k in scalars if k.startswith(("train/detections", "val/"))]
    values = {name: scalars[name].data[0].tolist() for name in names}
    return dict(pos_weights=weights, seed=seed, **values)


def draw(runs: list[dict], path: Path) -> None:
    """Detections per training image over time, a thin line for each seed."""
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for weights, colour in zip(WEIGHTS, COLOURS, strict=True):
        curves = [
            run[f"train/detections_{SCORE_THR:g}"]
            for run in runs
            if tuple(run["pos_weights"]) == weights
        ]
        steps = INTERVAL * (1 + np.arange(len(curves[0])))
        for curve in curves:
            axis.plot(steps, curve, color=colour, alpha=0.3, linewidth=0.8)
        label = "foreground weights {:g} (RPN), {:g} (RoI head)".format(*weights)
        axis.plot(steps, np.mean(curves, 0), color=colour, linewidth=2, label=label)
    axis.set(
        title=f"Faster R-CNN from scratch on sparse digits, {len(curves)} seeds",
        xlabel="iteration",
        ylabel=f"detections per training image, score ≥ {SCORE_THR:g}",
    )
    axis.set_yscale("symlog", linthresh=1)  # 0 has a place, and the start has one too
    axis.set_ylim(bottom=-0.1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default="work_dirs/detection_collapse")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--log-level", default="WARNING")
    args = parser.parse_args()
    write_sparse_digits(args.out / "data")
    runs = [train(weights, seed, args) for seed in args.seeds for weights in WEIGHTS]
    table = Table(title=f"detections per image, score ≥ {SCORE_THR:g}")
    for column in ("weights", "seed", "last training images", "validation", "AP50"):
        table.add_column(column, justify="right")
    for run in runs:
        table.add_row(
            "{:g} / {:g}".format(*run["pos_weights"]),
            str(run["seed"]),
            f"{np.mean(run[f'train/detections_{SCORE_THR:g}'][-5:]):.2f}",
            f"{run[f'val/detections_{SCORE_THR:g}'][-1]:.2f}",
            f"{run['val/coco/bbox_mAP_50'][-1]:.3f}",
        )
    Console().print(table)
    write_record(args.out / "detection_collapse.json", runs)
    draw(runs, args.out / "detection_collapse.png")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
