"""Whether the parts of this package can be where a config has them."""

import inspect
from collections.abc import Iterator, Mapping

from mmengine.registry import MODELS

from .finding import Finding, type_is
from .heads import PACKAGE, facts_of, heads_with, is_known, line_of

ASSIGNER = "SparseTaskAlignedAssigner"
TAKES_PENALTY = "AreaAwareYOLOv8Head"
LOSSES = ("AreaAwareBCELoss", "PosWeightedCrossEntropyLoss")


def config_findings(cfg: Mapping, place: str = "model") -> Iterator[Finding]:
    """What would keep a model from being built, in words.

    Args:
        cfg: Config of a model, or of a part of one.
        place: Its dotted path.

    Yields:
        The findings.
    """
    parts = list(_parts(cfg, place))
    classes = [(at, cls) for at, part in parts if (cls := _class_of(part)) is not None]
    calling = [cls for _, cls in classes if facts_of(cls).calls_sparse_assigner]
    strangers = [cls.__name__ for at, cls in classes if _is_strange_head(at, cls)]
    for at, part in parts:
        slot, name = at.rpartition(".")[2], _type_name(part)
        for key, loss in part.items():
            if _type_name(loss) in LOSSES and not _takes(part, key):
                yield Finding(
                    f"{at}.{key}", f"{name} takes no {key}, it has none: leave it out"
                )
        if part.get("loss_bg") is not None and not _takes(part, "loss_bg"):
            fix = f"{TAKES_PENALTY} has it, for YOLOv8 and YOLO11"
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
            yield from _check_assigner(at, part, calling, strangers)


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


def _type_name(cfg) -> str:
    """Without its scope; in MMEngine's lazy configs types are classes."""
    name = cfg.get("type") if isinstance(cfg, Mapping) else None
    return str(getattr(name, "__name__", name)).rpartition(".")[2]


def _class_of(cfg: Mapping) -> type | None:
    """The registered class that a config builds."""
    type_ = cfg.get("type")
    if isinstance(type_, str):
        with MODELS.switch_scope_and_registry(None) as registry:
            type_ = registry.get(type_)
    return type_ if inspect.isclass(type_) else None


def _takes(cfg: Mapping, keyword: str) -> bool:
    """Whether what a config builds takes a keyword; also if it is not registered."""
    cls = _class_of(cfg)
    if cls is None:
        return True
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        if keyword in parameters:
            return True
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            return False
    return False


def _ours_with_penalty(cfg: Mapping) -> str | None:
    """The head of this package to set in place of a stock head, for a penalty."""
    cls = _class_of(cfg)
    ours = None if cls is None else line_of(cls).ours
    return ours if ours and _takes(dict(type=ours), "loss_bg") else None


def _parts(cfg, place: str) -> Iterator[tuple[str, Mapping]]:
    """All dicts in a config with their places, itself the first."""
    if isinstance(cfg, Mapping):
        yield place, cfg
        children = cfg.items()
    elif isinstance(cfg, list | tuple):
        children = enumerate(cfg)
    else:
        return
    for key, value in children:
        yield from _parts(value, f"{place}.{key}")


def _is_strange_head(place: str, cls: type) -> bool:
    """Whether a class at a place for heads is somebody's own."""
    slot = place.rstrip(".0123456789").rpartition(".")[2]
    is_stock = cls.__module__.partition(".")[0] in ("mmdet", "mmyolo", PACKAGE)
    return slot.endswith("head") and not is_stock and not is_known(cls)
