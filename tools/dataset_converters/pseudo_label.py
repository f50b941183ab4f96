"""Labels images with a trained detector, once, to be trained on with labelled ones.

    python tools/dataset_converters/pseudo_label.py CONFIG CHECKPOINT \\
        data/birds/semi_anns/train.1@10-unlabeled.json data/birds/train \\
        data/birds/semi_anns/train.1@10-pseudo.json

Detections with a score from --high on are boxes of the last file, those from --low on
have iscrowd=1, so that a training neither finds nor punishes them. Annotations of the
images, if there are any, are not looked at. What teacher and student of configs/semi
are compared with: there the labels get better while the student does.
"""

import argparse
import json
import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import load
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmareaaware.datasets.split_semi import SplitError, read_coco
from mmareaaware.engine.launch import config_or_exit
from mmareaaware.models.semi import FixedThresholds
from mmareaaware.models.semi.coco_pseudo_labels import pseudo_labelled
from mmareaaware.whole_file import write_whole

NMS_IOU = 0.6  # as for the labels of a teacher


def of_unlabelled(cfg: Config, args: argparse.Namespace, folder: str) -> Config:
    """The config of a detector that is tested on the unlabelled images.

    Args:
        cfg: As it is trained; changed in place.
        args: Of the command line.
        folder: For what a test writes.
    """
    cfg.load_from = str(args.checkpoint)
    cfg.work_dir = folder
    cfg.test_dataloader.dataset.update(
        data_root="",
        ann_file=str(args.ann_file),
        data_prefix=dict(img=str(args.images)),
        test_mode=True,
    )
    cfg.test_evaluator = dict(
        type="mmdet.DumpDetResults", out_file_path=f"{folder}/found.pkl"
    )
    cfg.model.test_cfg.update(
        score_thr=args.low,
        multi_label=False,  # the best class of each prior
        nms=dict(type="nms", iou_threshold=NMS_IOU),
    )
    return cfg


def detect(args: argparse.Namespace) -> tuple[dict[int, InstanceData], list[int]]:
    """The detections on each image, by its id, and the category of each label."""
    cfg = config_or_exit(args.config)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner.from_cfg(of_unlabelled(cfg, args, folder))
        runner.test()
        samples = load(f"{folder}/found.pkl")
    found = {s["img_id"]: InstanceData(**s["pred_instances"]) for s in samples}
    return found, runner.test_dataloader.dataset.cat_ids


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="of the YOLO that gives the labels")
    parser.add_argument("checkpoint", type=Path, help="of its training")
    parser.add_argument("ann_file", type=Path, help="lists the images, COCO format")
    parser.add_argument("images", type=Path, help="the folder that they are in")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument(
        "--high", type=float, default=0.6, help="a box from this score on, default: 0.6"
    )
    parser.add_argument(
        "--low", type=float, default=0.1, help="ignored from this score on"
    )
    args = parser.parse_args()
    for path in (args.config, args.checkpoint, args.ann_file, args.images):
        if not path.exists():
            parser.error(f"{path} does not exist")
    return args


def main() -> None:
    args = parse_args()
    try:
        content = read_coco(args.ann_file)
        thresholds = FixedThresholds(args.high, args.low)
    except (SplitError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    found, category_ids = detect(args)
    thresholds.set_num_classes(len(category_ids))
    labelled = pseudo_labelled(content, found, category_ids, thresholds)
    write_whole(args.out, json.dumps(labelled))
    crowds = sum(annotation["iscrowd"] for annotation in labelled["annotations"])
    boxes = len(labelled["annotations"]) - crowds
    print(
        f"{len(labelled['images'])} images, {boxes} pseudo-boxes and {crowds} ignored "
        f"regions written to {args.out}"
    )


if __name__ == "__main__":
    main()
