"""Where the parts of this package sit in a model, and whether they work there."""

import inspect
from collections.abc import Callable, Iterator, Mapping

from mmengine.registry import MODELS
from torch import nn

from ..models.label_weighting import LabelWeighting
from ..models.losses import AreaAwareBCELoss, PosWeightedCrossEntropyLoss
from .finding import Finding
from .heads import facts_of, heads_with, is_known, line_of

ASSIGNER = "SparseTaskAlignedAssigner"
TAKES_PENALTY = "AreaAwareYOLOv8Head"


def config_findings(cfg: Mapping, place: str = "model") -> Iterator[Finding]:
    """What would keep a model from being built, in words.

    Args:
        cfg: Config of a model, or of a part of one.
        place: Its dotted path.

    Yields:
        The findings.
    """
    parts = list(_parts(cfg, place))
    classes = [cls for _, part in parts if (cls := _class_of(part)) is not None]
    has_assigner = any(facts_of(cls).calls_sparse_assigner for cls in classes)
    for at, part in parts:
        slot, name = at.rpartition(".")[2], _type_name(part)
        if part.get("loss_bg") is not None and not _takes_penalty(part):
            fix = f"{TAKES_PENALTY} has it, for YOLOv8 and YOLO11"
            ours = _ours_with_penalty(part)
            if ours is not None:
                fix = f"set {_type_is(at, ours)}"
            yield Finding(f"{at}.loss_bg", f"{name} has no background penalty: {fix}")
        if name == "BgPenaltyLoss" and slot != "loss_bg":
            yield Finding(
                at,
                f"BgPenaltyLoss is no {slot}, it comes beside the losses, as loss_bg "
                f"of {TAKES_PENALTY}: leave {slot} as the recipe has it",
            )
        if name == ASSIGNER and not has_assigner:
            yield Finding(
                at,
                f"no head of this model calls a {ASSIGNER}: leave the assigner as the "
                "recipe has it. The heads that call one: "
                f"{heads_with('calls_sparse_assigner')}",
            )


def model_findings(model: nn.Module, place: str = "model") -> Iterator[Finding]:
    """What is wrong with the losses of a model.

    Args:
        model: Built.
        place: Its dotted path.

    Yields:
        The findings.
    """
    for name, head in model.named_modules():
        at = ".".join(filter(None, (place, name)))
        for slot, loss in head.named_children():
            for kind, check in CHECKS.items():
                if isinstance(loss, kind):
                    yield from check(head, at, slot, loss)


def _check_bce(
    head: nn.Module, place: str, slot: str, loss: AreaAwareBCELoss
) -> Iterator[Finding]:
    where = f"{place}.{slot}"
    facts = facts_of(type(head))
    if not loss.has_head:
        if loss.area_weight is not None:
            yield Finding(where, _area_advice(head, place, loss))
            return
        if not is_known(type(head)):  # somebody's own
            return
        if slot != "loss_cls" or not facts.reductions:
            yield Finding(
                where,
                "AreaAwareBCELoss(area_weight=None) is not the loss of "
                f"{type(head).__name__}, which sums and divides in another way. "
                f"{_keep_its_loss(head, slot)}",
            )
            return
        if loss.reduction not in facts.reductions:
            yield Finding(
                where,
                f"reduction={loss.reduction!r} divides by the sum of the targets, and "
                f"so does {type(head).__name__}: set reduction={facts.reductions[0]!r}",
            )
    own = _own_loss(head, slot).get("loss_weight", loss.loss_weight)
    if loss.loss_weight == 1 != own:
        yield Finding(
            where,
            f"loss_weight=1.0, where {type(head).__name__} has {own}: write "
            f"loss_weight={own}, unless it is meant (_delete_=True drops the recipe's)",
            is_error=False,
        )


def _area_advice(head: nn.Module, place: str, loss: AreaAwareBCELoss) -> str:
    start = f"area_weight={loss.area_weight!r} needs the areas of the assigned boxes, "
    facts, name = facts_of(type(head)), type(head).__name__
    if isinstance(head, LabelWeighting):
        return (
            f"{start}and {name} weighs by itself: move it to {place}.area_weight, and "
            "leave the loss as the recipe has it"
        )
    start += f"and {name} passes none"
    if line_of(type(head)).ours is None:  # what descends from it is another
        return (
            f"{start}. Area weights are not supported in it yet: leave the loss as the "
            "recipe has it, or take one of the heads that have a size-aware form: "
            f"{heads_with('ours')}"
        )
    if facts.reductions:  # the loss itself weighs
        return f"{start}: set {_type_is(place, facts.ours)}"
    return (
        f"{start}: set {_type_is(place, facts.ours)} and {place}.area_weight, and "
        "leave the loss as the recipe has it"
    )


def _check_positive_weight(
    head: nn.Module, place: str, slot: str, loss: PosWeightedCrossEntropyLoss
) -> Iterator[Finding]:
    facts, name = facts_of(type(head)), type(head).__name__
    if not is_known(type(head)):
        return
    where = f"{place}.{slot}"
    if facts.form is None or slot not in facts.slots:
        yield Finding(
            where,
            f"PosWeightedCrossEntropyLoss is not supported as {slot} of {name}, which "
            f"takes another kind of loss there. {_keep_its_loss(head, slot)}",
        )
        return
    form = "sigmoid" if loss.use_sigmoid else "softmax"
    if form != facts.form:
        yield Finding(
            where,
            f"use_sigmoid={loss.use_sigmoid} is the {form} form, and {name} is made "
            f"for {facts.form}: set use_sigmoid={facts.form == 'sigmoid'}",
        )
    own = _own_loss(head, slot).get("reduction", loss.reduction)
    if loss.reduction != own:
        yield Finding(
            where,
            f"reduction={loss.reduction!r}, where {name} counts on {own!r}: set "
            f"reduction={own!r}",
        )


def _keep_its_loss(head: nn.Module, slot: str) -> str:
    own = _own_loss(head, slot)
    return f"Leave {slot} as the recipe has it" + (f", {own}" if own else "")


def _own_loss(head: nn.Module, slot: str) -> dict:
    """The config of a loss that a head has by default; empty if it has none."""
    for cls in type(head).__mro__:
        parameter = inspect.signature(cls.__init__).parameters.get(slot)
        if parameter is not None and isinstance(parameter.default, Mapping):
            return dict(parameter.default)
    return {}


def _type_is(place: str, name: str) -> str:
    return f"{place}.type={name!r}"


def _type_name(cfg: Mapping) -> str:
    """Without its scope; in MMEngine's lazy configs types are classes."""
    name = cfg.get("type")
    return str(getattr(name, "__name__", name)).rpartition(".")[2]


def _class_of(cfg: Mapping) -> type | None:
    """The registered class that a config builds."""
    type_ = cfg.get("type")
    if isinstance(type_, str):
        with MODELS.switch_scope_and_registry(None) as registry:
            type_ = registry.get(type_)
    return type_ if inspect.isclass(type_) else None


def _ours_with_penalty(cfg: Mapping) -> str | None:
    """The head of this package to set in place of a stock head, for a penalty."""
    cls = _class_of(cfg)
    ours = None if cls is None else line_of(cls).ours
    return ours if ours and _takes_penalty(dict(type=ours)) else None


def _takes_penalty(cfg: Mapping) -> bool:
    """Whether a head has a keyword for it; also if it is not registered here."""
    cls = _class_of(cfg)
    if cls is None or _type_name(cfg) == TAKES_PENALTY:
        return True
    parameters = [inspect.signature(base.__init__).parameters for base in cls.__mro__]
    return any("loss_bg" in names for names in parameters)


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


Check = Callable[[nn.Module, str, str, nn.Module], Iterator[Finding]]
CHECKS: dict[type, Check] = {
    AreaAwareBCELoss: _check_bce,
    PosWeightedCrossEntropyLoss: _check_positive_weight,
}
