"""Renames weights of YOLOv5, YOLOv8 and YOLO11 from Ultralytics' to MMYOLO's, and back.

Ultralytics numbers the layers of a model from its input to its output, ``model.0`` to
the head, the layers without weights (upsampling, concatenation) counted, and names the
parts of each. Ours are the names of the MMYOLO model that a config builds.
"""

import re

import torch
from torch import Tensor, nn

# Ultralytics' name of each part of a block. Of a C2f the second convolution is the
# last, of a C3 (YOLOv5's block, and the inner one of YOLO11) the third.
C2F = {
    "main_conv": "cv1",
    "final_conv": "cv2",
    "short_conv": "cv2",
    "conv1": "cv1",
    "conv2": "cv2",
    "blocks": "m",
}
C3 = C2F | {"final_conv": "cv3"}
INNER_C3 = re.compile(r"^blocks\.\d+\.final_conv\.")
# Of YOLOv5 classes, box and objectness come from one convolution.
CLASS_BRANCH = re.compile(r"bbox_head\.head_module\.(cls_preds|convs_pred)\.(\d)\.")
LISTED = 12
STEM = "backbone.stem.conv.weight"


def ultralytics_names(keys: list[str]) -> dict[str, str]:
    """Ultralytics' name of every entry of a model of ours.

    Args:
        keys: All entries of the model's state dict.

    Returns:
        Our names to theirs.

    Raises:
        ValueError: The model is no YOLOv5, YOLOv8 or YOLO11.
    """
    branches = [match for key in keys if (match := CLASS_BRANCH.match(key))]
    is_v5 = any(match[1] == "convs_pred" for match in branches)
    stages = [m for key in keys if (m := re.match(r"backbone\.stage(\d)\.(\d)\.", key))]
    last = max((2 * int(m[1]) - 1 + int(m[2]) for m in stages), default=0)
    # Steps of the neck from the coarsest level to the finest, and as many back
    paths = len({match[2] for match in branches}) - 1
    step = 4 if is_v5 else 3  # layers of a step to the finer level
    first_down = last + step * paths + 1
    detect = first_down + 3 * paths

    def place(key: str) -> tuple[int, str]:
        """Index of the layer, and the name in it."""
        if match := re.match(r"backbone\.stem\.(.*)", key):
            return 0, match[1]
        if match := re.match(r"backbone\.stage(\d)\.(\d)\.(.*)", key):
            return 2 * int(match[1]) - 1 + int(match[2]), match[3]
        if match := re.match(r"neck\.downsample_layers\.(\d)\.(.*)", key):
            return first_down + 3 * int(match[1]), match[2]
        if match := re.match(r"neck\.bottom_up_layers\.(\d)\.(.*)", key):
            return first_down + 2 + 3 * int(match[1]), match[2]
        if match := re.match(r"neck\.reduce_layers\.\d\.(.*)", key):
            return last + 1, match[1]
        if match := re.match(r"neck\.top_down_layers\.(\d)\.((\d)\.)?(.*)", key):
            # YOLOv5 has the next step's 1×1 convolution in the same Sequential.
            return last + step * (int(match[1]) + 1) + int(match[3] or 0), match[4]
        if match := re.match(r"bbox_head\.head_module\.convs_pred\.(.*)", key):
            return detect, f"m.{match[1]}"
        if match := re.match(r"bbox_head\.head_module\.(reg|cls)_preds\.(.*)", key):
            return detect, f"{'cv2' if match[1] == 'reg' else 'cv3'}.{match[2]}"
        raise ValueError(f"{key} is of no YOLOv5, YOLOv8 or YOLO11")

    names = {}
    for key in keys:
        index, rest = place(key)
        if INNER_C3.match(rest):
            rest = rest.replace("final_conv", "cv3", 1)
        block = C3 if is_v5 else C2F
        rest = ".".join(block.get(part, part) for part in rest.split("."))
        names[key] = f"model.{index}.{rest}"
    return names


def constants(model: nn.Module) -> dict[str, Tensor]:
    """What Ultralytics keeps among the weights and MMYOLO in the config.

    Args:
        model: A detector of ours.

    Returns:
        By Ultralytics' name: the numbers 0…15 of YOLOv8 and YOLO11, (1, 16, 1, 1), or
        the anchors of YOLOv5 in units of the stride, (levels, 3, 2).
    """
    names = ultralytics_names(list(model.state_dict())).values()
    detect = max(int(name.split(".")[1]) for name in names)
    head = model.bbox_head
    if hasattr(head.head_module, "convs_pred"):
        strides = torch.tensor(head.featmap_strides).view(-1, 1, 1)
        anchors = torch.tensor(head.prior_generator.base_sizes) / strides
        return {f"model.{detect}.anchors": anchors}
    numbers = torch.arange(head.head_module.reg_max, dtype=torch.float)
    return {f"model.{detect}.dfl.conv.weight": numbers.view(1, -1, 1, 1)}


def from_ultralytics(
    source: dict[str, Tensor], model: nn.Module, drop_class_branch: bool = False
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename Ultralytics' entries to those of a model of ours.

    Args:
        source: Their state dict.
        model: The detector that the entries are for.
        drop_class_branch: Leave out what of the class branch does not fit.

    Returns:
        Our state dict, in the precision of ``model``, and the names left out.

    Raises:
        ValueError: An entry is missing, unknown or of another shape, or the file
            has other anchors.
    """
    state = model.state_dict()
    expected = {v: k for k, v in ultralytics_names(list(state)).items()}
    fixed = constants(model)
    problems = _differences(source, {v: state[k] for v, k in expected.items()})
    dropped = []
    if drop_class_branch:
        dropped = [
            name
            for name, problem in problems.items()
            if problem.startswith("misshapen") and _of_class_branch(expected[name])
        ]
    problems = {k: v for k, v in problems.items() if k not in (*fixed, *dropped)}
    if problems:
        raise ValueError(_report(problems, expected, source, state))
    for name, value in fixed.items():
        theirs = source.get(name, value).float().cpu()
        # Their half precision keeps eleven bits.
        if theirs.shape != value.shape or not theirs.allclose(value, rtol=1e-3):
            raise ValueError(
                f"{name} of the file is {theirs.tolist()}, CONFIG has {value.tolist()} "
                "(anchors in units of the stride): set "
                "model.bbox_head.prior_generator.base_sizes"
            )
    result = {
        ours: source[theirs].to(state[ours], copy=True)
        for theirs, ours in expected.items()
        if theirs not in dropped
    }
    return result, [expected[name] for name in dropped]


def to_ultralytics(source: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename our entries to Ultralytics'; the inverse of ``from_ultralytics``.

    Args:
        source: Our state dict.
        model: The detector that it is of.

    Returns:
        Their state dict, with ``constants``.

    Raises:
        ValueError: An entry is missing, unknown or of another shape.
    """
    state = model.state_dict()
    if problems := _differences(source, state):
        raise ValueError(_report(problems, {k: k for k in state}, source, state))
    names = ultralytics_names(list(state))
    return {names[key]: source[key].clone() for key in state} | constants(model)


def _differences(
    source: dict[str, Tensor], expected: dict[str, Tensor]
) -> dict[str, str]:
    """What does not fit, by name."""
    problems = {name: f"missing: {name}" for name in expected if name not in source}
    problems |= {name: f"unknown: {name}" for name in source if name not in expected}
    for name in expected.keys() & source.keys():
        theirs, ours = source[name].shape, expected[name].shape
        if theirs != ours:
            problems[name] = (
                f"misshapen: {name} is {tuple(theirs)}, should be {tuple(ours)}"
            )
    return problems


def _of_class_branch(name: str) -> bool:
    return CLASS_BRANCH.match(name) is not None


def _report(
    problems: dict[str, str],
    ours: dict[str, str],
    source: dict[str, Tensor],
    state: dict[str, Tensor],
) -> str:
    """The problems, and the likely reason.

    Args:
        problems: By the file's name.
        ours: Our names by the file's.
        source: Content of the file.
        state: State dict of the model.
    """
    if all(
        problem.startswith("misshapen") and _of_class_branch(ours[name])
        for name, problem in problems.items()
    ):
        hint = "Another number of classes? --drop-class-branch leaves them out"
    else:
        hint = "Is CONFIG of another model or scale?"
        for name in ours:
            if ours[name] == STEM and problems.get(name, "").startswith("misshapen"):
                hint += (
                    f" Its first convolution has {len(state[STEM])} channels, that of "
                    f"the file {len(source[name])}"
                )
    lines = [
        f"{problem} ({ours[name]})" if ours.get(name, name) != name else problem
        for name, problem in sorted(problems.items())
    ]
    if len(lines) > LISTED:
        lines[LISTED:] = [f"and {len(lines) - LISTED} more"]
    return f"{len(problems)} entries do not fit. {hint}:\n  " + "\n  ".join(lines)
