"""Runs a tool of this package, but for what takes minutes: ``TOOL ARGUMENTS``.

A training is prepared, up to its first iteration, and leaves the checkpoint of its last
epoch; an ablation is of one seed, its runs leave metrics; and the digits are few.
"""

import json
import runpy
import sys
from functools import partial
from unittest.mock import patch

from mmengine.runner import EpochBasedTrainLoop

from mmareaaware.ablation import Run
from mmareaaware.ablation.training import Trainer
from mmareaaware.datasets import write_digits

FEW = dict(train=300, val=4)  # in three images, 1 %, there can be every class
METRICS = ("coco/bbox_mAP", "background/best_f1")


def run_no_epoch(loop: EpochBasedTrainLoop) -> None:
    runner = loop.runner
    runner.call_hook("before_train")
    assert next(iter(loop.dataloader))
    name = f"epoch_{loop.max_epochs}.pth"
    runner.save_checkpoint(runner.work_dir, name, by_epoch=False)


def leave_metrics(trainer: Trainer, run: Run, tool: str, *arguments) -> None:
    if tool == "train.py":
        note = run.folder / "train/last_checkpoint"
        note.parent.mkdir(parents=True)
        note.write_text("epoch_2.pth")
        return
    log = run.folder / "test/20250101_000000/20250101_000000.json"
    log.parent.mkdir(parents=True)
    content = {metric: 0.5 + 0.01 * run.seed for metric in METRICS}
    log.write_text(json.dumps(content))


def main() -> None:
    sys.argv = sys.argv[1:]
    if sys.argv[0].endswith("ablation.py"):
        sys.argv += ["--seeds", "1"]
    few_digits = partial(write_digits, num_images=FEW)
    amp = "mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available"
    with (
        patch.object(EpochBasedTrainLoop, "run", run_no_epoch),
        patch.object(Trainer, "_call", leave_metrics),
        patch("mmareaaware.ablation.training.write_report"),  # after each run
        patch("mmareaaware.datasets.write_digits", few_digits),
        patch("mmareaaware.config_file.get_device", lambda: "cuda"),
        patch(amp, lambda: True),
    ):
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
