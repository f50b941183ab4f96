"""The options of the tools that switch something on."""

import argparse
import os
from typing import Any

from mmengine.config import Config
from rich.console import Console

from .assigner import SPARSE
from .changes import changes_table
from .switch import DEFAULT_BALANCE, switch_on

GROUP = "switched on in the config, whatever its head (docs/switch_on.md)"
ARGUMENTS = (  # of `switch_on`
    "area_weight",
    "bg_penalty",
    "assigner",
    "copy_paste",
    "balance_objects",
    "box_voting",
)


def add_switches(parser: argparse.ArgumentParser) -> None:
    """Add ``--area-aware``, ``--bg-penalty`` and what else can be switched on."""
    group = parser.add_argument_group(GROUP)
    group.add_argument(
        "--area-aware",
        dest="area_weight",
        nargs="?",
        const=True,
        metavar="TYPE",
        help="weigh positives by the area of their box; by default PowerAreaWeight",
    )
    group.add_argument(
        "--bg-penalty",
        nargs="?",
        const=True,
        type=float,
        metavar="LAMBDA",
        help="penalise confident background; by default with the λ_bg of the recipes",
    )
    group.add_argument(
        "--assigner",
        nargs="?",
        const=True,
        metavar="TYPE",
        help=f"the assigner for crowds; by default {SPARSE}",
    )
    group.add_argument(
        "--copy-paste",
        action="store_const",
        const=True,
        help="small objects a second time, at other places of their image",
    )
    group.add_argument(
        "--balance-objects",
        nargs="?",
        const=True,
        type=float,
        metavar="ALPHA",
        help="objects of few positives count more in the box losses, from 0 to 1; by "
        f"default {DEFAULT_BALANCE}",
    )
    _add_box_voting(group)


def add_test_switches(parser: argparse.ArgumentParser) -> None:
    """Add what of them changes a test."""
    _add_box_voting(parser.add_argument_group(GROUP))


def _add_box_voting(group) -> None:
    group.add_argument(
        "--box-voting",
        action="store_const",
        const=True,
        help="after NMS, boxes by the vote of their neighbours, and scores by how they "
        "agree on place and class; changes no training",
    )


def apply_switches(cfg: Config, args: argparse.Namespace) -> None:
    """Switch on in a config what the options ask for, and print what has changed.

    Args:
        cfg: The config; changed in place.
        args: Parsed with the options of ``add_switches`` or ``add_test_switches``.

    Raises:
        SystemExit: It cannot be; with the reason.
    """
    asked: dict[str, Any] = {key: getattr(args, key, None) for key in ARGUMENTS}
    if all(value is None for value in asked.values()):
        return
    try:
        changes = switch_on(cfg, **asked)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        console = Console()
        console.print("switched on in the config:")
        console.print(changes_table(changes))
