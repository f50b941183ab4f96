"""Weights of Ultralytics' YOLO11 or YOLOv8 for our models, and back.

    python tools/model_converters/ultralytics_to_mmyolo.py CONFIG yolo11n.pt n.pth
    python tools/model_converters/ultralytics_to_mmyolo.py CONFIG n.pth n.pt --reverse

CONFIG is the recipe whose model the weights are for, `load_from = 'n.pth'` puts them
into a training. Every entry must fit. `--reverse` writes a plain state dict with
Ultralytics' names, to be loaded there with `load_state_dict`.
"""

import argparse
import pickle
import re
import warnings
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

import mmareaaware  # noqa: F401 (registers)

CLASS_BRANCH = "bbox_head.head_module.cls_preds."
NAMES = {
    "main_conv": "cv1",
    "final_conv": "cv2",
    "short_conv": "cv2",
    "conv1": "cv1",
    "conv2": "cv2",
    "blocks": "m",
}
# Of a C3k the last convolution is the third.
INNER_CSP = re.compile(r"^blocks\.\d+\.final_conv\.")


def ultralytics_names(keys: list[str]) -> dict[str, str]:
    """Ultralytics' name of every entry of a model of ours.

    Args:
        keys: All entries of the model's state dict.

    Returns:
        Our names to theirs.
    """
    attention = any(key.startswith("backbone.stage4.3.") for key in keys)
    last = 10 if attention else 9  # their index of the last layer of the backbone
    levels = {k.split(".")[3] for k in keys if k.startswith(CLASS_BRANCH)}
    paths = len(levels) - 1  # steps down and steps up
    first_down = last + 3 * paths + 1
    detect = first_down + 3 * paths
    places = {
        "neck.top_down_layers": lambda i: last + 3 * (i + 1),
        "neck.downsample_layers": lambda i: first_down + 3 * i,
        "neck.bottom_up_layers": lambda i: first_down + 2 + 3 * i,
    }
    names = {}
    for key in keys:
        if match := re.match(r"backbone\.stem\.(.*)", key):
            index, rest = 0, match[1]
        elif match := re.match(r"backbone\.stage(\d)\.(\d)\.(.*)", key):
            index, rest = 2 * int(match[1]) - 1 + int(match[2]), match[3]
        elif match := re.match(r"(neck\.\w+)\.(\d)\.(.*)", key):
            index, rest = places[match[1]](int(match[2])), match[3]
        elif match := re.match(r"bbox_head\.head_module\.(reg|cls)_preds\.(.*)", key):
            branch = "cv2" if match[1] == "reg" else "cv3"
            index, rest = detect, f"{branch}.{match[2]}"
        else:
            raise ValueError(f"{key} is of no YOLOv8 or YOLO11")
        if INNER_CSP.match(rest):
            rest = rest.replace("final_conv", "cv3", 1)
        rest = ".".join(NAMES.get(part, part) for part in rest.split("."))
        names[key] = f"model.{index}.{rest}"
    return names


def dfl_name(names: dict[str, str]) -> str:
    """Name of the fixed numbers 0...15 that only Ultralytics stores."""
    detect = max(int(name.split(".")[1]) for name in names.values())
    return f"model.{detect}.dfl.conv.weight"


def from_ultralytics(
    source: dict[str, Tensor], model: dict[str, Tensor], drop_class_branch: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename Ultralytics' entries to those of a model of ours.

    Args:
        source: Their state dict.
        model: State dict of the model that the entries are for.
        drop_class_branch: Leave out what of the class branch does not fit.

    Returns:
        Our state dict, and the names that were left out.

    Raises:
        ValueError: An entry is missing, unknown or of another shape; all are listed.
    """
    names = ultralytics_names(list(model))
    expected = {theirs: ours for ours, theirs in names.items()}
    problems, result, dropped = [], {}, []
    for theirs, ours in expected.items():
        if theirs not in source:
            problems.append(f"missing: {theirs} ({ours})")
        elif source[theirs].shape == model[ours].shape:
            result[ours] = source[theirs]
        elif drop_class_branch and ours.startswith(CLASS_BRANCH):
            dropped.append(ours)
        else:
            shapes = tuple(source[theirs].shape), tuple(model[ours].shape)
            problems.append(
                f"misshapen: {theirs} is {shapes[0]}, {ours} is {shapes[1]}"
            )
    unknown = source.keys() - expected.keys() - {dfl_name(names)}
    problems += [f"unknown: {name}" for name in sorted(unknown)]
    _raise_if(problems)
    return result, dropped


def to_ultralytics(
    source: dict[str, Tensor], model: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Rename our entries to Ultralytics'; the inverse of :func:`from_ultralytics`.

    Raises:
        ValueError: An entry is missing, unknown or of another shape; all are listed.
    """
    names = ultralytics_names(list(model))
    problems = [f"missing: {k}" for k in names if k not in source]
    problems += [f"unknown: {k}" for k in source if k not in names]
    problems += [
        f"misshapen: {k} is {tuple(source[k].shape)}, should be {tuple(v.shape)}"
        for k, v in model.items()
        if k in source and source[k].shape != v.shape
    ]
    _raise_if(problems)
    result = {names[key]: value for key, value in source.items()}
    name = dfl_name(names)
    box_bias = result[name.replace("dfl.conv.weight", "cv2.0.2.bias")]
    reg_max = len(box_bias) // 4
    result[name] = torch.arange(reg_max, dtype=torch.float).view(1, reg_max, 1, 1)
    return result


def _raise_if(problems: list[str]) -> None:
    if not problems:
        return
    hints = []
    if any(p.startswith("misshapen") and "cls_preds" in p for p in problems):
        hints.append("Another number of classes? --drop-class-branch leaves it out.")
    if any(not p.startswith("misshapen") for p in problems):
        hints.append("Is CONFIG of the same model and scale?")
    lines = "\n  ".join(problems)
    raise ValueError(
        f"{len(problems)} entries do not fit:\n  {lines}\n{' '.join(hints)}"
    )


def load(path: Path) -> dict[str, Tensor]:
    """State dict of a file: plain, of a checkpoint, or of a pickled model.

    Raises:
        ImportError: The file holds a pickled model and its package is not installed.
        ValueError: There is no model in the file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        warnings.warn(
            f"{path} holds pickled Python objects: loading it runs code from the file. "
            "Go on only with files from a source you trust",
            stacklevel=2,
        )
        try:
            content = torch.load(path, map_location="cpu", weights_only=False)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{path} holds a model of the package {error.name!r}, which is not "
                "installed: install it, or save `model.state_dict()` where it is"
            ) from error
    if isinstance(content, dict):
        for name in ("ema", "model", "state_dict"):
            if content.get(name) is not None:
                content = content[name]
                break
    if isinstance(content, torch.nn.Module):
        content = content.float().state_dict()
    is_state = isinstance(content, dict) and all(
        isinstance(value, Tensor) for value in content.values()
    )
    if not is_state or not content:
        raise ValueError(
            f"no model in {path}: neither ema, model, state_dict nor tensors"
        )
    return dict(content)


def build(config: Path) -> dict[str, Tensor]:
    """State dict of the model of a config, as it would be trained."""
    with DefaultScope.overwrite_default_scope("mmyolo"):
        return MODELS.build(Config.fromfile(config).model).state_dict()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="recipe of the model")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--reverse", action="store_true", help="ours to Ultralytics'")
    parser.add_argument(
        "--drop-class-branch",
        action="store_true",
        help="leave out what of the class branch does not fit, for other classes",
    )
    args = parser.parse_args()
    if args.reverse and args.drop_class_branch:
        parser.error("--drop-class-branch does not go with --reverse")
    return args


def main() -> None:
    args = parse_args()
    model = build(args.config)
    try:
        source = load(args.source)
        if args.reverse:
            result, dropped = to_ultralytics(source, model), []
        else:
            result, dropped = from_ultralytics(source, model, args.drop_class_branch)
    except (ImportError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    args.target.parent.mkdir(parents=True, exist_ok=True)
    meta = dict(source=args.source.name, config=args.config.name)
    torch.save(
        result if args.reverse else dict(state_dict=result, meta=meta), args.target
    )
    for name in dropped:
        print(f"dropped {name}")
    print(f"{len(result)} entries written to {args.target}, {len(dropped)} dropped")


if __name__ == "__main__":
    main()
