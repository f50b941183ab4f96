"""What does the vote on boxes cost? Against NMS, and against the network before it.

    python tools/benchmark/box_voting.py --out work_dirs/box_voting

The stock recipe of YOLOv8-n on one image of 640 px, and after it NMS with and without
a `BoxVoting`, on made-up detections: --candidates of them around 30 objects of 80
classes. A trained network has some hundreds above a score of 0.001, an untrained one as
many as NMS takes, 30000. Prints a table and writes `box_voting.json`.
"""

import argparse
import statistics
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.table import Table

import mmareaaware  # noqa: F401 (registers)
from mmareaaware.benchmarking.measuring import interleaved_times, measure_all, ratio

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RECIPE = "mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py"
SIZE, OBJECTS, CLASSES = 640, 30, 80
NETWORK, NMS, VOTE = STEPS = ("network", "NMS", "NMS and vote")


def make_step(name: str, case: dict):
    """What is measured: a function without arguments."""
    model = get_config(RECIPE).model
    model.backbone.norm_cfg = model.neck.norm_cfg = dict(type="BN")
    model.bbox_head.type = "AreaAwareYOLOv8Head"
    model.bbox_head.head_module.norm_cfg = dict(type="BN")
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        detector = MODELS.build(model).to(DEVICE).eval()
    image = torch.rand(1, 3, SIZE, SIZE, device=DEVICE)
    found = detections(case["candidates"])
    cfg = ConfigDict(detector.test_cfg)
    if name == VOTE:
        cfg.box_voting = dict(type="BoxVoting")

    @torch.no_grad()
    def step() -> None:
        if name == NETWORK:
            detector(image)
        else:
            detector.bbox_head._bbox_post_process(found[:], cfg)

    return step


def detections(number: int) -> InstanceData:
    """Boxes around a few objects, of the right class and of any."""
    centre = torch.rand(OBJECTS, 2) * SIZE
    side = 8 * 10 ** torch.rand(OBJECTS, 2)
    of_object = torch.randint(OBJECTS, (number,))
    centre, side = centre[of_object], side[of_object]
    centre = centre + torch.randn(number, 2) * side / 8
    side = side * (1 + torch.randn(number, 2) / 8).clamp(min=0.1)
    labels = torch.where(
        torch.rand(number) < 0.5, of_object, torch.randint(CLASSES, (number,))
    )
    return InstanceData(
        bboxes=torch.cat([centre - side / 2, centre + side / 2], 1).to(DEVICE),
        scores=torch.rand(number).square().to(DEVICE),
        labels=labels.to(DEVICE),
    )


def measure(case: dict, rounds: int) -> dict:
    """Times of the steps on a case, and what the vote adds to all before it."""
    steps = {name: make_step(name, case) for name in STEPS}
    times = interleaved_times(steps, rounds)
    sums = {
        last: [a + b for a, b in zip(times[NETWORK], times[last], strict=True)]
        for last in (NMS, VOTE)
    }
    medians = {f"{k} [ms]": 1000 * statistics.median(v) for k, v in times.items()}
    return dict(case, **medians, ratio=ratio(sums[VOTE], sums[NMS]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, nargs="+", default=[300, 3000, 30000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--memory-of", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cases = [dict(candidates=number) for number in args.candidates]
    results = measure_all(args, cases, make_step, measure)
    table = Table("candidates", *(f"{name} [ms]" for name in STEPS), "with / without")
    for result in results:
        numbers = [f"{result[f'{name} [ms]']:.1f}" for name in STEPS]
        table.add_row(str(result["candidates"]), *numbers, f"{result['ratio']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
