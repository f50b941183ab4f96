"""A grid from any config of a detector: what can be switched on in it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config_file import read_config
from ..model_config import type_name
from ..models.losses.bg_penalty_loss import DEFAULT_LAMBDA
from ..switching import SwitchError, switch_on, with_package
from ..whole_file import whole_file, write_whole
from .grid import Metric

GRID, BASE = "grid.py", "base.py"
BASELINE = "baseline"
CANDIDATES: dict[str, dict[str, Any]] = dict(
    penalty=dict(bg_penalty=DEFAULT_LAMBDA),
    penalty_strong=dict(bg_penalty=2 * DEFAULT_LAMBDA),
    equal_objects=dict(balance_objects=True),
    copy_paste=dict(copy_paste=True),
    copy_paste_equal_objects=dict(copy_paste=True, balance_objects=True),
    power=dict(area_weight=dict(type="PowerAreaWeight")),
)
# Networks of a candidate, or of the baseline, tested with the vote
WITH_VOTES = dict(
    box_voting=BASELINE,
    penalty_box_voting="penalty",
    penalty_strong_box_voting="penalty_strong",
    copy_paste_equal_objects_box_voting="copy_paste_equal_objects",
)
MIN_BOXES = 20
CAPTION = (
    f"AP is the mean over the classes with at least {MIN_BOXES} boxes of the size in "
    "the validation data; results.json has all classes."
)
METRICS = [
    Metric("coco/bbox_mAP", "AP", scale=100, guard=0.5),
    Metric("coco/bbox_mAP_s", "AP small", scale=100, goal=True),
    Metric("coco/bbox_mAP_m", "AP medium", scale=100),
    Metric("coco/bbox_mAP_l", "AP large", scale=100),
    Metric(
        "background/bg_fp_per_image_recall0.5",
        "background FP / image at recall 0.5",
        better="lower",
        goal=True,
    ),
    Metric("background/best_f1", "best F1", scale=100),
]


def write_grid(
    config: Path,
    out: Path,
    seeds: Sequence[int],
    checkpoint: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, str]]:
    """Write a grid that compares what can be switched on in a config.

    Args:
        config: Trains and validates a detector.
        out: Folder for the grid and its base, a copy of the config that is tested on
            the validation data by size and for false alarms.
        seeds: Of the grid.
        checkpoint: What each training starts from; None for what the config says.
        options: What ``--cfg-options`` gave.

    Returns:
        The file of the grid, and why of the candidates some cannot be.

    Raises:
        ConfigFileError: The config cannot be read.
        FileNotFoundError: There is no such checkpoint.
        ValueError: It does not validate, or nothing can be switched on in it.
    """
    cfg = read_config(config, options)
    missing = [key for key in ("val_dataloader", "val_evaluator") if not cfg.get(key)]
    if missing:
        raise ValueError(f"{config} has no {', '.join(missing)} to compare with")
    settings: dict[str, dict] = {BASELINE: {}}
    refused = {}
    candidates = CANDIDATES | {
        name: CANDIDATES.get(tested, {}) | dict(box_voting=True)
        for name, tested in WITH_VOTES.items()
    }
    for name, asked in candidates.items():
        try:
            switch_on(deepcopy(cfg), **asked)
        except SwitchError as error:
            refused[name] = str(error)
        else:
            settings[name] = dict(switch_on=asked)
            if name in WITH_VOTES:
                settings[name]["tests"] = WITH_VOTES[name]
    if len(settings) == 1:
        reasons = "\n".join(dict.fromkeys(refused.values()))
        raise ValueError(f"nothing can be switched on in {config}:\n{reasons}")
    if checkpoint is not None:
        path = Path(checkpoint).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {checkpoint} does not exist")
        for setting in settings.values():
            setting["load_from"] = path.as_posix()
    # A text of MMEngine's lazy kind cannot be inherited by one that calls a function
    is_file = config.is_file()  # and none of another package
    is_as_it_stands = (
        is_file and not options and not Config._is_lazy_import(str(config))
    )
    grid = dict(
        base=BASE,
        based_on=config.resolve().as_posix() if is_as_it_stands else BASE,
        seeds=list(seeds),
        baseline=BASELINE,
        metrics=[vars(metric) for metric in METRICS],
        caption=CAPTION,
        settings=settings,
    )
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / BASE) as partial:
        _to_be_compared(cfg).dump(partial)
    write_whole(out / GRID, Config(grid).pretty_text)
    return out / GRID, refused


def _to_be_compared(cfg: Config) -> Config:
    """Tested on the validation data, with our metrics."""
    evaluators = cfg.val_evaluator
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else evaluators
    of_coco = [e for e in evaluators if type_name(e).endswith("CocoMetric")]
    if not of_coco:
        raise ValueError(
            f"val_evaluator is {', '.join(map(type_name, evaluators))}, and settings "
            "are compared by size on annotations in COCO format: set "
            "val_evaluator=dict(type='CocoMetric', ann_file=...) and a val_dataloader "
            "of the same images"
        )
    ann_file = of_coco[0].get("ann_file")
    cfg.test_dataloader = deepcopy(cfg.val_dataloader)
    cfg.test_cfg = cfg.get("test_cfg") or dict(type="TestLoop")
    cfg.test_evaluator = [
        dict(
            type="SizeBinnedCocoMetric",
            ann_file=ann_file,
            classwise=True,
            min_boxes=MIN_BOXES,
        ),
        dict(type="BackgroundFPMetric"),
    ]
    cfg.custom_imports = with_package(cfg)
    cfg.pop("work_dir", None)
    return cfg
