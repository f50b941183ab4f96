"""Weights of Ultralytics' YOLOv5, YOLOv8 or YOLO11 for our models, and back.

    python tools/model_converters/ultralytics_to_mmyolo.py CONFIG yolo11n.pt n.pth
    python tools/model_converters/ultralytics_to_mmyolo.py CONFIG n.pth n.pt --reverse

CONFIG is the recipe whose model the weights are for, a file or one of a package, as
`mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py`. `load_from = 'n.pth'` puts
the weights into a training. Every entry must fit. `--reverse` writes a plain state dict
with Ultralytics' names, to be loaded there with `load_state_dict`.

Nothing in the file is run, and Ultralytics need not be installed.
"""

import argparse
from pathlib import Path

import torch
from mmengine.registry import MODELS, DefaultScope

from mmareaaware.config_file import read_config
from mmareaaware.conversion.torch_file import find_state_dict, read_torch_file
from mmareaaware.conversion.ultralytics_weights import from_ultralytics, to_ultralytics
from mmareaaware.whole_file import whole_file


def build(config: str | Path) -> torch.nn.Module:
    """The model of a config, as it would be trained."""
    cfg = read_config(config)
    with DefaultScope.overwrite_default_scope("mmyolo"):
        return MODELS.build(cfg.model)


def load_trusted(path: Path) -> object:
    """All that is in a file, by running what it says."""
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except OSError:
        raise
    except Exception as error:  # a pickle can raise anything
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"torch cannot load {path}: {type(error).__name__} {reason}"
        ) from error


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="recipe of the model")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--reverse", action="store_true", help="ours to Ultralytics'")
    parser.add_argument(
        "--drop-class-branch",
        action="store_true",
        help="leave out what of the class branch does not fit, for other classes",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the code in the file to load it, with Ultralytics installed; for a "
        "file that cannot be read otherwise, and whose source you trust",
    )
    args = parser.parse_args()
    if args.reverse and args.drop_class_branch:
        parser.error("--drop-class-branch does not go with --reverse")
    return args


def main() -> None:
    args = parse_args()
    try:
        model = build(args.config)
        content = (load_trusted if args.trust else read_torch_file)(args.source)
        source = find_state_dict(content, args.source)
        if args.reverse:
            result, dropped = to_ultralytics(source, model), []
        else:
            result, dropped = from_ultralytics(source, model, args.drop_class_branch)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    meta = dict(source=args.source.name, config=Path(args.config).name)
    with whole_file(args.target) as partial:
        torch.save(
            result if args.reverse else dict(state_dict=result, meta=meta), partial
        )
    for name in dropped:
        print(f"dropped {name}")
    print(f"{len(result)} entries written to {args.target}, {len(dropped)} dropped")


if __name__ == "__main__":
    main()
