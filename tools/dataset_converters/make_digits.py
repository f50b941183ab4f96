"""Writes the demo data set. The same command twice gives the same files.

python tools/dataset_converters/make_digits.py --out data/digits
"""

import argparse

from rich.progress import track

from mmareaaware.datasets import write_digits


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="data/digits", help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    write_digits(
        args.out,
        seed=args.seed,
        progress=lambda items, title: track(items, description=title),
    )
    print(f"digits written to {args.out}")


if __name__ == "__main__":
    main()
