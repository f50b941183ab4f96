"""Ends the demo: a table of the metrics, and a picture of predictions and curves.

python tools/demo_report.py WORK_DIR
"""

import argparse
import contextlib
import io
import json
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import cv2
import matplotlib.pyplot as plt
from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint
from pycocotools.coco import COCO
from rich.console import Console
from rich.table import Table

from mmareaaware.visualization import COLOURS, draw_box, show_image

SCORE_THR = 0.3
NUM_PICTURES = 6
NAMES = {
    "coco/bbox_mAP": "AP",
    "coco/bbox_mAP_50": "AP50",
    "coco/bbox_mAP_75": "AP75",
    "coco/bbox_mAP_s": "AP small (< 32² px)",
    "coco/bbox_mAP_m": "AP medium",
    "coco/bbox_mAP_l": "AP large (≥ 96² px)",
    "coco/bbox_AR": "AR (100 detections)",
    "coco/bbox_AR_s": "AR small",
    "coco/bbox_AR_m": "AR medium",
    "coco/bbox_AR_l": "AR large",
    "background/fp_per_image_score0.25": "false positives per image (score ≥ 0.25)",
    "background/bg_fp_per_image_score0.25": "… on background (score ≥ 0.25)",
    "background/fp_per_empty_image_score0.25": "… without objects (score ≥ 0.25)",
    "background/fp_per_image_recall0.5": "false positives per image (at recall 0.5)",
    "background/bg_fp_per_image_recall0.5": "… on background (at recall 0.5)",
    "background/fp_per_empty_image_recall0.5": "… without objects (at recall 0.5)",
}


def evaluate(work_dir: Path) -> tuple[dict[str, float], COCO, COCO]:
    """Test the newest checkpoint.

    Args:
        work_dir: Of the training.

    Returns:
        Metrics by name, the ground truth and the predictions.
    """
    (config,) = work_dir.glob("*.py")
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir / "report")
    cfg.load_from = find_latest_checkpoint(str(work_dir))
    cfg.test_evaluator[0].outfile_prefix = str(work_dir / "report/predictions")
    cfg.visualizer.vis_backends = []
    cfg.log_level = "WARNING"
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks a lot
        metrics = Runner.from_cfg(cfg).test()
        truth = COCO(cfg.test_evaluator[0].ann_file)
        results = json.loads((work_dir / "report/predictions.bbox.json").read_text())
        if not results:
            raise SystemExit("no prediction on any image: train for longer")
        predictions = truth.loadRes(results)
    return {name: metrics[key] for key, name in NAMES.items()}, truth, predictions


def draw(work_dir: Path, truth: COCO, predictions: COCO, image_dir: Path) -> Path:
    """Draw predictions on validation images above the curves of the training.

    Args:
        work_dir: Of the training.
        truth: Ground truth.
        predictions: Predictions.
        image_dir: Where the images of the ground truth are.

    Returns:
        The path of the picture.
    """
    figure = plt.figure(figsize=(15, 14), layout="constrained")
    pictures, curves = figure.subfigures(2, 1, height_ratios=(2, 1))
    pictures.suptitle(
        f"predictions (orange, score ≥ {SCORE_THR}) and ground truth (blue, dashed)"
    )
    crowded = sorted(truth.getImgIds(), key=lambda i: -len(truth.getAnnIds(i)))
    for axis, image_id in zip(
        pictures.subplots(2, NUM_PICTURES // 2).flat,
        crowded[:: max(1, len(crowded) // NUM_PICTURES)],
        strict=False,
    ):
        image = cv2.imread(str(image_dir / truth.imgs[image_id]["file_name"]))
        show_image(axis, image[..., ::-1])
        for box in truth.imgToAnns[image_id]:
            draw_box(axis, corners(box), COLOURS["sky_blue"], linestyle="--")
        for box in predictions.imgToAnns[image_id]:
            if box["score"] >= SCORE_THR:
                name = truth.cats[box["category_id"]]["name"]
                label = f"{name} {box['score']:.2f}"
                draw_box(axis, corners(box), COLOURS["orange"], label)

    path = max(work_dir.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    left, right = curves.subplots(1, 2)
    for name in ("loss_cls", "loss_bbox", "loss_dfl", "loss_bg"):
        values = [line.get(name) for line in lines]
        left.plot([line["step"] for line in lines], values, label=name)
    left.set(title="losses", xlabel="iteration", yscale="log")
    left.legend()
    for name in ("lambda_bg", "bg_penalty_mean"):
        shown = [line for line in lines if name in line]
        axis = right if name == "lambda_bg" else right.twinx()
        colour = "tab:blue" if name == "lambda_bg" else "tab:orange"
        axis.plot(
            [line["step"] for line in shown], [line[name] for line in shown], colour
        )
        axis.set_ylabel(name, color=colour)
    right.set(title="λ_bg and the penalty it scales", xlabel="iteration")
    out = work_dir / "report/demo.png"
    figure.savefig(out, dpi=80)
    return out


def corners(annotation: dict) -> tuple[float, ...]:
    """x1, y1, x2, y2 of a COCO box."""
    x, y, w, h = annotation["bbox"]
    return x, y, x + w, y + h


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dir", type=Path)
    work_dir = parser.parse_args().work_dir
    metrics, truth, predictions = evaluate(work_dir)
    table = Table(title="demo: validation images")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        # nan: no such object in the data, or a recall that is not reached
        table.add_row(name, "undefined" if math.isnan(value) else f"{value:.3f}")
    Console().print(table)
    (config,) = work_dir.glob("*.py")
    data = Config.fromfile(config).test_dataloader.dataset
    image_dir = Path(data.data_root, data.data_prefix.img)
    out = draw(work_dir, truth, predictions, image_dir)
    print(f"picture: {out.resolve()}")


if __name__ == "__main__":
    main()
