"""Whether the parts of this package can be where a config has them."""

import inspect
from collections.abc import Iterator, Mapping

from ..model_config import Part, class_of, parts, takes, type_name
from ..models.dense_heads.box_voting import votes
from .finding import Finding, type_is
from .heads import PACKAGE, facts_of, heads_with, is_known, line_of

ASSIGNER = "SparseTaskAlignedAssigner"
TAKES_PENALTY = "AreaAwareYOLOv8Head"
VOTING = "BoxVoting"
LOSSES = ("AreaAwareBCELoss", "PosWeightedCrossEntropyLoss")


def config_findings(cfg: Mapping, place: str = "model") -> Iterator[Finding]:
    """What would keep a model from being built, in words.

    Args:
        cfg: Config of a model, or of a part of one.
        place: Its dotted path.

    Yields:
        The findings.
    """
    all_parts = list(parts(cfg, place))
    classes = [(part, part.cls) for part in all_parts if part.cls is not None]
    calling = [cls for _, cls in classes if facts_of(cls).calls_sparse_assigner]
    strangers = [cls.__name__ for part, cls in classes if _is_strange_head(part, cls)]
    for part in all_parts:
        at, name = part.place, part.name
        slot = at.rpartition(".")[2]
        for key, loss in part.cfg.items():
            is_ours = isinstance(loss, Mapping) and type_name(loss) in LOSSES
            if is_ours and not _takes(part, key):
                yield Finding(
                    f"{at}.{key}", f"{name} takes no {key}, it has none: leave it out"
                )
        if part.cfg.get("loss_bg") is not None and not _takes(part, "loss_bg"):
            fix = f"dense heads of this package have one, {TAKES_PENALTY} say"
            ours = _ours_with_penalty(part)
            if ours is not None:
                fix = f"set {type_is(at, ours)}"
            yield Finding(f"{at}.loss_bg", f"{name} has no background penalty: {fix}")
        if name == "BgPenaltyLoss" and slot != "loss_bg":
            yield Finding(
                at,
                f"BgPenaltyLoss is no {slot}, it comes beside the losses, as loss_bg "
                f"of {TAKES_PENALTY}: leave {slot} as the recipe has it",
            )
        if name == ASSIGNER:
            yield from _check_assigner(at, part.cfg, calling, strangers)
        if part.cfg.get("box_voting") is not None:
            yield from _check_voting(part, all_parts)


def _check_assigner(
    place: str, assigner: Mapping, calling: list[type], strangers: list[str]
) -> Iterator[Finding]:
    """Does a head call it? ``strangers`` are those of which nobody knows."""
    if not calling and strangers:
        yield Finding(
            place,
            f"whether {' or '.join(strangers)} calls a {ASSIGNER} is unknown. It works "
            "where a BatchTaskAlignedAssigner does; else leave the assigner as the "
            "recipe has it",
            is_error=False,
        )
    elif not calling:
        yield Finding(
            place,
            f"no head of this model calls a {ASSIGNER}: leave the assigner as the "
            "recipe has it. The heads that call one: "
            f"{heads_with('calls_sparse_assigner')}",
        )
    for head in calling:
        if facts_of(head).overlap != "CIoU" and assigner.get("use_ciou", True):
            yield Finding(
                f"{place}.use_ciou",
                f"True (the default), where the recipes of {head.__name__} assign by "
                "IoU: write use_ciou=False, unless it is meant",
                is_error=False,
            )


def _check_voting(part: Part, all_parts: list[Part]) -> Iterator[Finding]:
    """Does a head look at the ``box_voting`` of a part?"""
    before, _, key = part.place.rpartition(".")
    place = f"{part.place}.box_voting"
    if key != "test_cfg":
        yield Finding(
            place,
            f"{VOTING} is for the detections of a head with NMS, in its test_cfg, and "
            "nothing looks for it here: leave it out",
        )
        return
    heads = [
        other
        for other in all_parts
        if f"{other.place}.".startswith(f"{before}.") and other.slot.endswith("head")
    ]
    classes = [head.cls for head in heads]
    if None in classes or any(map(votes, classes)):
        return
    fix = "leave it out"
    for head, cls in zip(heads, classes, strict=True):
        ours = line_of(cls).ours
        if ours and votes(class_of(dict(type=ours))):
            fix = f"set {type_is(head.place, ours)}"
    names = " and ".join(head.name for head in heads)
    yield Finding(place, f"{names} does not look at it: {fix}")


def _takes(part: Part, keyword: str) -> bool:
    """Whether what a config builds takes a keyword, for all that can be known."""
    return part.cls is None or _may_pop(part.cls) or takes(part.cls, keyword)


def _may_pop(cls: type) -> bool:
    """Whether somebody's own class takes ``**kwargs``, and from them what it likes."""
    own = next(base for base in cls.__mro__ if "__init__" in vars(base))
    parameters = inspect.signature(own.__init__).parameters.values()
    return not _is_stock(own) and any(p.kind is p.VAR_KEYWORD for p in parameters)


def _is_stock(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("mmdet", "mmyolo", PACKAGE)


def _ours_with_penalty(part: Part) -> str | None:
    """The head of this package to set in place of a stock head, for a penalty."""
    ours = None if part.cls is None else line_of(part.cls).ours
    is_known_to_take = ours and _takes(Part("", dict(type=ours), None), "loss_bg")
    return ours if is_known_to_take else None


def _is_strange_head(part: Part, cls: type) -> bool:
    """Whether a class at a place for heads is somebody's own."""
    return part.slot.endswith("head") and not _is_stock(cls) and not is_known(cls)
