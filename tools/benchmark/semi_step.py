"""What does a semi-supervised iteration cost? Against the supervised one it is made of.

    python tools/benchmark/semi_step.py --out work_dirs/semi_step

Iterations of the recipes of configs/semi on random images, without data and hooks:
preprocessing, networks, pseudo-labels, losses, backward, optimizer. The detector alone
with the labelled images; `SemiYOLODetector` in the burn-in, which is to cost as much;
and after it, which is to cost as much as its parts: the teacher's detections, measured
apart, and two supervised iterations. The thresholds are set so that the teacher has
--boxes pseudo-boxes and as many uncertain ones per image. Prints a table and writes
`semi_step.json`.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import mmareaaware  # noqa: F401 (registers)
from mmareaaware.benchmarking.measuring import (
    environment,
    interleaved_times,
    measure_all,
    peak_memory,
    ratio,
)
from mmareaaware.models.semi import FixedThresholds

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CONFIGS = Path(__file__).parents[2] / "configs/semi"
MODELS_OF = {
    "yolov8-n": "yolov8_n_semi_bg-max_1xb16-24e_digits.py",
    "yolov8-s": "yolov8_s_semi_bg-max_8xb32-300e_coco-semi.py",
    "yolo11-s": "yolo11_s_semi_bg-max_8xb32-300e_coco-semi.py",
}
SUPERVISED, BURN_IN, FULL = ITERATIONS = ("supervised", "burn-in", "full")
TEACHER = "teacher's detections"
PARTS = f"{TEACHER} and two supervised iterations"
# What an iteration may cost, as a multiple of what
AIMS = {BURN_IN: (1.02, SUPERVISED), FULL: (1.15, PARTS)}


class Iterations:
    """A semi-supervised model, a supervised one like it, and images for both."""

    def __init__(self, case: dict) -> None:
        cfg = Config.fromfile(CONFIGS / MODELS_OF[case["model"]])
        cfg.model.detector.bbox_head.loss_bg.lambda_bg = 1.0  # as after its warm-up
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("mmyolo"):
            self.semi = MODELS.build(cfg.model).to(DEVICE).train()
            self.detector = MODELS.build(cfg.model.detector).to(DEVICE).train()
        num_classes = self.semi.student.bbox_head.num_classes
        number, size = case["images"], case["size"]
        shape = (number, 3, size, size)
        self.sup, self.weak, self.strong = torch.randint(
            256, (3, *shape), dtype=torch.uint8
        )
        self.truth = [
            random_boxes(case["boxes"], size, num_classes) for _ in range(number)
        ]
        self.view = dict(
            img_shape=(size, size),
            ori_shape=(size, size),
            scale_factor=(1.0, 1.0),
            homography_matrix=np.eye(3),
        )
        self.optimizers = {
            model: OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-6))
            for model in (self.semi.student, self.detector)
        }
        data = self.semi.data_preprocessor(self._batch(), True)
        self.preprocessed = data["inputs"]["unsup_teacher"]
        self.detector.init_weights()  # low scores, which differ
        expect_small_boxes(self.detector.bbox_head.head_module)
        see_images(self.detector, self.preprocessed)
        for network in (self.semi.student, self.semi.teacher):
            network.load_state_dict(self.detector.state_dict())
        self._set_thresholds(case["boxes"], num_classes)

    def _set_thresholds(self, boxes: int, num_classes: int) -> None:
        labeller = self.semi.pseudo_labeller
        labeller.thresholds = FixedThresholds(high=1e-6, low=1e-6)
        found = labeller.detect(self.semi.teacher, self.preprocessed)
        scores = torch.cat([image.scores for image in found]).sort(descending=True)[0]
        at = [boxes * len(found), 2 * boxes * len(found)]
        high, low = (float(scores[min(i, len(scores)) - 1]) for i in at)
        labeller.thresholds = FixedThresholds(high, low)
        labeller.thresholds.set_num_classes(num_classes)
        labeller.to(DEVICE)

    def supervised(self) -> None:
        """The detector alone, with batches as its recipe collates them."""
        boxes = [
            torch.cat([torch.full((len(b), 1), i), b.labels[:, None], b.bboxes], 1)
            for i, b in enumerate(self.truth)
        ]
        samples = dict(bboxes_labels=torch.cat(boxes), bboxes_ignored=torch.zeros(0, 5))
        data = dict(inputs=self.sup.clone(), data_samples=samples)
        self.detector.train_step(data, self.optimizers[self.detector])

    def burn_in(self) -> None:
        """Before there are pseudo-labels."""
        self._semi_step(0.0)

    def full(self) -> None:
        """With them."""
        self._semi_step(2.0)

    def teacher(self) -> None:
        """What the teacher finds on the weak views."""
        self.semi.pseudo_labeller.detect(self.semi.teacher, self.preprocessed)

    def _semi_step(self, weight: float) -> None:
        self.semi.lambda_u = weight
        self.semi.train_step(self._batch(), self.optimizers[self.semi.student])

    def _batch(self) -> dict:
        """Of labelled and unlabelled images, as the recipes collate them."""
        none = [None] * len(self.sup)
        unlabelled = [self._sample() for _ in none]
        return dict(
            inputs=dict(
                sup=[*self.sup.clone(), *none],
                unsup_teacher=[*none, *self.weak.clone()],
                unsup_student=[*none, *self.strong.clone()],
            ),
            data_samples=dict(
                sup=[*map(self._sample, self.truth), *none],
                unsup_teacher=[*none, *unlabelled],
                unsup_student=[*none, *(sample.clone() for sample in unlabelled)],
            ),
        )

    def _sample(self, truth: InstanceData | None = None) -> DetDataSample:
        sample = DetDataSample(metainfo=dict(self.view))
        if truth is not None:
            sample.gt_instances = truth.clone()
            sample.ignored_instances = truth[:0]
        return sample

    def of(self, name: str):
        """The iteration or part by its name."""
        steps = (self.supervised, self.burn_in, self.full, self.teacher)
        return dict(zip((*ITERATIONS, TEACHER), steps, strict=True))[name]


def random_boxes(number: int, size: int, num_classes: int) -> InstanceData:
    """Sides of 8 to 128 px."""
    side = 8 * 16 ** torch.rand(number, 2)
    center = torch.rand(number, 2) * size
    boxes = torch.cat([center - side / 2, center + side / 2], 1).clamp(0, size)
    return InstanceData(bboxes=boxes, labels=torch.randint(num_classes, (number,)))


@torch.no_grad()
def expect_small_boxes(head_module: nn.Module) -> None:
    """Sides of about a stride: an untrained network finds boxes as large as the image.

    No teacher does, and what a step costs grows with the priors that lie in boxes.
    """
    for branch in head_module.reg_preds:
        of_bins = branch[-1].bias.view(4, head_module.reg_max)
        of_bins -= torch.arange(head_module.reg_max, device=of_bins.device)


def see_images(detector: nn.Module, images: Tensor) -> None:
    """Let BatchNorm see a batch, so that the network is one that works in eval mode."""
    norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    detector(images, mode="tensor")
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def make_step(name: str, case: dict) -> Callable[[], None]:
    """The iteration of this name."""
    return Iterations(case).of(name)


def measure(case: dict, rounds: int) -> dict:
    """Memory and times of one case."""
    memory = {name: peak_memory(name, make_step, case) for name in ITERATIONS}
    iterations = Iterations(case)
    steps = {name: iterations.of(name) for name in (*ITERATIONS, TEACHER)}
    times = interleaved_times(steps, rounds)
    parts = zip(times[TEACHER], times[SUPERVISED], strict=True)
    times[PARTS] = [teacher + 2 * supervised for teacher, supervised in parts]
    iterations.full()
    labels = iterations.semi.last_pseudo_labels
    count = dict(pseudo_boxes=len(labels.boxes), ignored_regions=len(labels.ignored))
    return dict(**case, **count, memory_mib=memory, seconds=times)


def print_table(results: list[dict]) -> None:
    case = results[0]
    table = Table(
        title=f"an iteration on {DEVICE}, {case['images']} labelled and as many "
        f"unlabelled images of {case['size']} px"
    )
    for column in ("model", "iteration", "time", "/ what", "ratio", "aim", "memory"):
        table.add_column(
            column,
            justify="left" if column in ("model", "iteration", "/ what") else "right",
        )
    for result in results:
        times, memory = result["seconds"], result["memory_mib"]
        for name in times:
            aim, reference = AIMS.get(name, (None, None))
            table.add_row(
                result["model"],
                name,
                f"{statistics.median(times[name]):.3f} s",
                reference or "",
                f"{ratio(times[name], times[reference]):.3f}" if reference else "",
                f"{aim}" if reference else "",
                f"{memory[name]:.0f} MiB" if memory.get(name) is not None else "",
            )
        table.add_section()
    Console(width=max(120, Console().width)).print(table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=MODELS_OF, default=["yolov8-n"])
    parser.add_argument("--boxes", type=int, nargs="+", default=[20])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=8, help="of either kind")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/semi_step"))
    parser.add_argument("--memory-of", choices=ITERATIONS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel("WARNING")  # else a line for each weight
    fixed = dict(size=args.size, images=args.images)
    cases = [
        dict(model=model, boxes=boxes, **fixed)
        for model in args.model
        for boxes in args.boxes
    ]
    results = measure_all(args, cases, make_step, measure)
    print_table(results)
    print(environment())


if __name__ == "__main__":
    main()
