"""The teacher of a semi-supervised checkpoint, as a checkpoint of a plain detector.

    python tools/model_converters/teacher_to_detector.py epoch_24.pth teacher.pth

What comes out loads into the config of the supervised detector, the `model.detector` of
the semi-supervised one. `--student` takes the student out instead.
"""

import argparse
from pathlib import Path

import torch

from mmareaaware.conversion.checkpoint import read_checkpoint
from mmareaaware.conversion.teacher import weights_of
from mmareaaware.whole_file import whole_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--student", action="store_true", help="take the student")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    network = "student" if args.student else "teacher"
    try:
        state = weights_of(read_checkpoint(args.source)["state_dict"], network)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    meta = dict(source=args.source.name, network=network)
    with whole_file(args.target) as partial:
        torch.save(dict(state_dict=state, meta=meta), partial)
    print(f"{len(state)} entries of the {network} written to {args.target}")


if __name__ == "__main__":
    main()
