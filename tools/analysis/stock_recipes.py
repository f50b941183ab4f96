"""Tries switch_on with every recipe of the installed MMDetection and MMYOLO.

    python tools/analysis/stock_recipes.py --out docs/switch_on_recipes.md

Each recipe is read, each switch is tried by itself, and where one goes on, what the
heads are then is built (with another backbone, and once where recipes are alike) and
checked as at the start of a training. What is refused is counted with its reason.
"""

import argparse
import warnings
from importlib.metadata import version
from pathlib import Path

from mmengine.logging import MMLogger
from rich.progress import track

from mmareaaware.switching.stock_recipes import LIBRARIES, table, try_all
from mmareaaware.whole_file import write_whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, help="try one of so many")
    parser.add_argument("--out", type=Path, help="a file; by default the console")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    MMLogger.get_current_instance().setLevel("ERROR")
    results = list(track(try_all(args.every), "recipes"))
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    text = f"{versions}; a number is how many recipes it can be switched on in.\n\n"
    text += table(results)
    if args.out:
        write_whole(args.out, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
