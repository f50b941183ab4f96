"""Whether the weights in a checkpoint are of the network that they are loaded into.

MMEngine lists what does not fit among all other lines, and goes on.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from .finding import Finding

PLACE = "load_from"
SHAPED_BY_ITSELF = ("backbone", "neck")  # whatever the classes
BRANCHES = ("student.", "teacher.")
FEW = 0.1  # of the layers that are shaped by themselves


def checkpoint_findings(
    model: nn.Module, state_dict: Mapping[str, Tensor], is_start: bool
) -> Iterator[Finding]:
    """What is of another size in the checkpoint than in the model.

    Args:
        model: Without what distributes it.
        state_dict: The weights in the checkpoint.
        is_start: Whether a training starts from them, so that layers of other classes
            may begin anew; else a test or a resumed training wants them all.

    Yields:
        An error, or for layers that may begin anew a warning.
    """
    pairs = [
        (name, tuple(found.shape), tuple(parameter.shape))
        for name, parameter in model.named_parameters()
        if (found := _entry(state_dict, name)) is not None
    ]
    if not pairs:
        yield Finding(
            PLACE,
            f"none of the {len(state_dict)} weights of the checkpoint, "
            f"{next(iter(state_dict), 'none')} the first, is one of the model: nothing "
            f"would be loaded. {_converter(state_dict)}",
        )
        return
    others = [pair for pair in pairs if pair[1] != pair[2]]
    if not others:
        return
    fixed = [pair for pair in others if _is_shaped_by_itself(pair)]
    if len(fixed) < FEW * sum(map(_is_shaped_by_itself, pairs)) and is_start:
        fixed = []  # as of other input channels
    name, in_file, in_model = (fixed or others)[0]
    what = (
        f"{len(others)} of {len(pairs)} weights of the checkpoint have another size "
        f"than in the model, {name} {in_file} there and {in_model} here"
    )
    if fixed or not is_start:
        yield Finding(
            PLACE,
            f"{what}: it is of another network, or of other classes. Give the "
            "checkpoint of this config; one of three levels gets a level of stride 4 "
            "by tools/model_converters/add_p2_level.py; of a backbone alone, start by "
            "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=..., "
            "prefix='backbone.')",
        )
    else:
        yield Finding(
            PLACE,
            f"{what}: they begin untrained, as it has to be where the classes, or the "
            "channels of the images, are others",
            is_error=False,
        )


def _is_shaped_by_itself(pair: tuple[str, tuple, tuple]) -> bool:
    return bool(set(pair[0].split(".")[:2]) & set(SHAPED_BY_ITSELF))


def _converter(state_dict: Mapping[str, Tensor]) -> str:
    """What makes a checkpoint of this model of one that is none."""
    if any(name.startswith(BRANCHES) for name in state_dict):
        return "tools/model_converters/teacher_to_detector.py takes out the teacher"
    if any(name.startswith("model.0.") for name in state_dict):
        return "tools/model_converters/ultralytics_to_mmyolo.py converts Ultralytics'"
    return "Give the checkpoint of this config, or of the same network"


def _entry(state_dict: Mapping[str, Tensor], name: str) -> Tensor | None:
    """Of a parameter; a plain detector's, as in mmdet, for student and teacher."""
    found = state_dict.get(name)
    for branch in BRANCHES:
        if found is None and name.startswith(branch):
            found = state_dict.get(name.removeprefix(branch))
    return found
