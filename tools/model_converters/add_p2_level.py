"""A level of stride 4 (P2) for the checkpoint of a YOLOv8 or YOLO11 of three levels.

    python tools/model_converters/add_p2_level.py yolov8_n.pth --out yolov8_n_p2.pth

The new file loads into the same network with four levels (`load_from`), and says on the
three old ones nearly what it said; P2 begins with what P3 says. Every layer is listed
with where its weights are from. Nothing in the file is run.
"""

import argparse
from pathlib import Path

import torch

from mmareaaware.conversion.p2_level import Origin, add_p2_level, number_of_classes
from mmareaaware.conversion.torch_file import find_state_dict, read_torch_file
from mmareaaware.whole_file import whole_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def table(origins: list[Origin]) -> str:
    rows = [("layer", "from", "entries", "")]
    rows += [(o.layer, o.source, str(o.entries), o.how) for o in origins]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {how}".rstrip()
        for a, b, c, how in rows
    )


def main() -> None:
    args = parse_args()
    try:
        content = read_torch_file(args.checkpoint)
        state, origins = add_p2_level(find_state_dict(content, args.checkpoint))
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    meta = dict(source=args.checkpoint.name)
    with whole_file(args.out) as partial:
        torch.save(dict(state_dict=state, meta=meta), partial)
    print(table(origins))
    print(
        f"{len(state)} entries written to {args.out}\n"
        f"The class branches are for {number_of_classes(state)} classes. A network of "
        "another number starts its own\nuntrained: MMEngine lists them as 'size "
        "mismatch' when it loads the file, and goes on."
    )


if __name__ == "__main__":
    main()
