"""Where the parts of this package sit in a model, and whether they work there."""

from collections.abc import Callable, Iterator, Mapping

from torch import nn

from ..model_config import Part, default_of, parts, takes
from ..models.label_weighting import LabelWeighting
from ..models.losses import AreaAwareBCELoss, PosWeightedCrossEntropyLoss
from .finding import Finding
from .heads import HEADS, UNKNOWN, facts_of, heads_with, is_known

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
    all_parts = list(parts(cfg, place))
    classes = [cls for part in all_parts if (cls := part.cls) is not None]
    has_assigner = any(facts_of(cls).calls_sparse_assigner for cls in classes)
    for part in all_parts:
        at, name = part.place, part.name
        slot = at.rpartition(".")[2]
        if part.cfg.get("loss_bg") is not None and not _takes_penalty(part):
            fix = f"{TAKES_PENALTY} has it, for YOLOv8 and YOLO11"
            if name == "YOLOv8Head":
                fix = f"set {_type_is(at, TAKES_PENALTY)}"
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
    if HEADS.get(name, UNKNOWN).ours is None:  # what descends from it is another
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
    default = default_of(type(head), slot)
    return dict(default) if isinstance(default, Mapping) else {}


def _type_is(place: str, name: str) -> str:
    return f"{place}.type={name!r}"


def _takes_penalty(part: Part) -> bool:
    """Whether a head has a keyword for it; also if it is not registered here."""
    cls = part.cls
    return cls is None or part.name == TAKES_PENALTY or takes(cls, "loss_bg")


Check = Callable[[nn.Module, str, str, nn.Module], Iterator[Finding]]
CHECKS: dict[type, Check] = {
    AreaAwareBCELoss: _check_bce,
    PosWeightedCrossEntropyLoss: _check_positive_weight,
}
