"""A level of stride 4 for the checkpoint of a YOLOv8 or YOLO11 of three levels.

The indices of the neck's and the head's layers move, since both count from the finest
level; ``p2_layers`` has the first values of the layers that are new.
"""

import re
from dataclasses import dataclass

from torch import Tensor

from .p2_layers import (
    LAST,
    VECTORS,
    Branch,
    Weights,
    enlarge,
    halve,
    most_important,
    pass_through,
    stretch,
)

HEAD = "bbox_head.head_module"
LAYER = re.compile(
    r"(neck\.(?:top_down|downsample|bottom_up)_layers"
    r"|bbox_head\.head_module\.(?:cls|reg)_preds)\.(\d+)\.(.+)"
)
LEVELS = dict.fromkeys(
    ("neck.top_down_layers", "neck.downsample_layers", "neck.bottom_up_layers"), 2
) | {f"{HEAD}.{branch}_preds": 3 for branch in ("cls", "reg")}
# Of a backbone whose stages are a convolution and a CSP layer
STRIDE_4 = "backbone.stage1.1.final_conv.conv.weight"
# A class branch is never narrower than the classes; that of YOLO11 up to here only.
MAX_CLASS_CHANNELS_YOLO11 = 100
LISTED = 12


@dataclass
class Origin:
    """Where a layer of the network with four levels has its weights from."""

    layer: str
    source: str
    how: str
    entries: int


def add_p2_level(source: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Origin]]:
    """Weights of four levels from those of three.

    P2 has half as many channels as P3, as in our recipes and Ultralytics'.

    Args:
        source: State dict of a YOLOv8 or YOLO11 with strides 8, 16 and 32. Not changed.

    Returns:
        The state dict for the network with ``out_indices=(1, 2, 3, 4)`` and strides 4,
        8, 16 and 32, of as many classes, in single precision; and every layer of it.

    Raises:
        ValueError: An entry is unknown or missing.
    """
    source = {k: v.float() if v.is_floating_point() else v for k, v in source.items()}
    layers = _layers(source)
    neck = {name: layers[f"neck.{name}"] for name in _steps()}
    last = neck["top_down_layers"][1]
    gamma, beta = (last[f"final_conv.bn.{key}"] for key in VECTORS[:2])
    channels = len(gamma)
    if channels % 16:
        raise ValueError(
            f"P3 has {channels} channels: a P2 of half as many has to have a multiple "
            "of 8"
        )
    branches = {
        name: [Branch(weights) for weights in layers[f"{HEAD}.{name}"]]
        for name in ("cls_preds", "reg_preds")
    }
    shares = [b[0].importance(0, gamma, beta) for b in branches.values()]
    kept = most_important(sum(shares), channels // 2)

    passing = dict(last)
    top_down, downsample, bottom_up = (
        {key: halve(value) for key, value in counterpart.items()}
        for counterpart in (
            last,
            neck["downsample_layers"][0],
            neck["bottom_up_layers"][0],
        )
    )
    enlarge(top_down, kept, gamma, beta, len(source[STRIDE_4]))
    pass_through(passing, bottom_up, channels // 2)

    backbone = {k: v for k, v in source.items() if k.startswith("backbone.")}
    result = dict(backbone)
    origins = [Origin("backbone", "backbone", "loaded", len(backbone))]

    def put(group: str, index: int, came_from: int, how: str, weights: Weights) -> None:
        name = f"{group}.{index}"
        result.update({f"{name}.{key}": value for key, value in weights.items()})
        origins.append(Origin(name, f"{group}.{came_from}", how, len(weights)))

    group = "neck.top_down_layers"
    put(group, 0, 0, "loaded", neck["top_down_layers"][0])
    put(group, 1, 1, "loaded, its last normalisation moved on", passing)
    put(group, 2, 1, "initialised: gives half of P3's channels", top_down)
    group = "neck.downsample_layers"
    put(group, 0, 0, "initialised: half of its channels", downsample)
    for index, weights in enumerate(neck["downsample_layers"]):
        put(group, index + 1, index, "loaded", weights)
    group = "neck.bottom_up_layers"
    put(group, 0, 0, "initialised: passes P3 on", bottom_up)
    for index, weights in enumerate(neck["bottom_up_layers"]):
        put(group, index + 1, index, "loaded", weights)
    for name, levels in branches.items():
        p2 = Branch(levels[0].weights)
        p2.keep(0, kept, gamma, beta)
        if name == "reg_preds":
            stretch(p2.weights)
        width = _width(name, levels[0], channels // 2)
        for index, branch in enumerate([p2, *levels]):
            how = "loaded" if index else "initialised: on half of P3's channels"
            if branch.width > width:
                how += f", narrowed from {branch.width} to {width}"
                branch.narrow(width)
            put(f"{HEAD}.{name}", index, max(index - 1, 0), how, branch.weights)
    return result, origins


def number_of_classes(state: dict[str, Tensor]) -> int:
    """That the class branches are for."""
    return len(state[f"{HEAD}.cls_preds.0.{LAST}.bias"])


def _steps() -> list[str]:
    return [name.removeprefix("neck.") for name in LEVELS if name.startswith("neck.")]


def _width(name: str, branch: Branch, p2_channels: int) -> int:
    """Of the branches on every level, which goes by the finest one."""
    outputs = len(branch.weights[f"{LAST}.bias"])
    if name == "reg_preds":
        return max(16, p2_channels // 4, outputs)
    is_yolo11 = "0.0.conv.weight" in branch.weights
    if is_yolo11:
        outputs = min(outputs, MAX_CLASS_CHANNELS_YOLO11)
    return max(p2_channels, outputs)


def _layers(source: dict[str, Tensor]) -> dict[str, list[Weights]]:
    """The layers of neck and head by group and index.

    Args:
        source: State dict.

    Returns:
        Entries by their names in the layer.

    Raises:
        ValueError: An entry is unknown or missing.
    """
    layers: dict[str, dict[int, Weights]] = {group: {} for group in LEVELS}
    unknown = []
    for key, value in source.items():
        if match := LAYER.fullmatch(key):
            group, index, rest = match.groups()
            layers[group].setdefault(int(index), {})[rest] = value
        elif not key.startswith("backbone."):
            unknown.append(key)
    if unknown:
        raise ValueError(
            f"{len(unknown)} entries are of no YOLOv8 or YOLO11: {_listed(unknown)}"
        )
    for group, number in LEVELS.items():
        if sorted(layers[group]) != list(range(number)):
            raise ValueError(
                f"{group} has the indices {sorted(layers[group])}: a network of three "
                f"levels has {list(range(number))}"
            )
    if missing := _missing(source, layers):
        raise ValueError(f"{len(missing)} entries are missing: {_listed(missing)}")
    return {
        group: [by_index[index] for index in sorted(by_index)]
        for group, by_index in layers.items()
    }


def _missing(
    source: dict[str, Tensor], layers: dict[str, dict[int, Weights]]
) -> list[str]:
    """What other layers have, or other parts of the same."""
    expected = {STRIDE_4}
    for group, by_index in layers.items():
        if group != "neck.bottom_up_layers":  # the coarsest of YOLO11 has other blocks
            names = {name for weights in by_index.values() for name in weights}
            expected |= {f"{group}.{i}.{name}" for i in by_index for name in names}
    for key in source:
        module, part, _ = key.rpartition(".bn.") if ".bn." in key else ("", "", "")
        if not part and key.endswith(".conv.weight"):
            module = key.removesuffix(".conv.weight")
        if module:
            expected.add(f"{module}.conv.weight")
            expected |= {
                f"{module}.bn.{name}" for name in (*VECTORS, "num_batches_tracked")
            }
    return sorted(expected - source.keys())


def _listed(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
