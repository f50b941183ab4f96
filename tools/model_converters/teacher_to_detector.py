"""The teacher of a semi-supervised checkpoint, as a checkpoint of a plain detector.

    python tools/model_converters/teacher_to_detector.py epoch_24.pth teacher.pth

What comes out loads into the config of the supervised detector, the `model.detector` of
the semi-supervised one. `--student` takes the student out instead.
"""

import argparse
from pathlib import Path

import torch
from mmengine.runner.checkpoint import _load_checkpoint

import mmareaaware  # noqa: F401 (what a checkpoint may hold on new versions of torch)


def extract(state_dict: dict, network: str) -> dict:
    """The weights of one of the two networks.

    Args:
        state_dict: Of a ``SemiYOLODetector``.
        network: ``'teacher'`` or ``'student'``.

    Returns:
        Its entries, by their names in a plain detector.

    Raises:
        ValueError: There is no such network.
    """
    prefix = f"{network}."
    names = [name for name in state_dict if name.startswith(prefix)]
    if not names:
        raise ValueError(
            f"no entry of the checkpoint begins with {prefix!r}: it is none of a "
            "SemiYOLODetector"
        )
    return {name.removeprefix(prefix): state_dict[name] for name in names}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--student", action="store_true", help="take the student")
    return parser.parse_args()


def load(path: Path) -> dict:
    """The weights in a checkpoint of MMEngine."""
    try:
        checkpoint = _load_checkpoint(str(path), map_location="cpu")
        return checkpoint["state_dict"]
    except OSError:
        raise
    except Exception as error:  # a broken file raises anything
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is no checkpoint of MMEngine: {type(error).__name__} {reason}"
        ) from error


def main() -> None:
    args = parse_args()
    network = "student" if args.student else "teacher"
    try:
        state = extract(load(args.source), network)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    args.target.parent.mkdir(parents=True, exist_ok=True)
    meta = dict(source=args.source.name, network=network)
    torch.save(dict(state_dict=state, meta=meta), args.target)
    print(f"{len(state)} entries of the {network} written to {args.target}")


if __name__ == "__main__":
    main()
