"""Whether the losses of this package work where they sit in a model."""

from collections.abc import Callable, Iterator, Mapping
from math import isclose

from mmdet.models.roi_heads import BBoxHead
from torch import nn

from ..model_config import default_of
from ..models.label_weighting import LabelWeighting
from ..models.losses import AreaAwareBCELoss, PosWeightedCrossEntropyLoss
from ..models.task_modules import SparseTaskAlignedAssigner
from .finding import Finding, type_is
from .heads import UNKNOWN, facts_of, heads_with, is_known, line_of

Loss = AreaAwareBCELoss | PosWeightedCrossEntropyLoss


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
        yield from _check_assigner(head, at, place)
        for slot, loss in head.named_children():
            for kind, check in CHECKS.items():
                if isinstance(loss, kind):
                    yield from check(head, at, slot, loss)


def _check_assigner(head: nn.Module, at: str, place: str) -> Iterator[Finding]:
    assigner = getattr(head, "assigner", None)
    if not isinstance(assigner, SparseTaskAlignedAssigner):
        return
    if assigner.num_classes != head.num_classes:
        yield Finding(
            f"{place}.train_cfg.assigner.num_classes",
            f"{assigner.num_classes}, and {at}.num_classes is {head.num_classes}: set "
            f"it to {head.num_classes}",
        )


def _check_bce(
    head: nn.Module, place: str, slot: str, loss: AreaAwareBCELoss
) -> Iterator[Finding]:
    where = f"{place}.{slot}"
    facts = facts_of(type(head))
    if not loss.has_head:
        if loss.area_weight is not None:
            yield Finding(where, _area_advice(head, place, loss))
            return
        if not is_known(type(head)):
            yield _unknown(head, slot, where, loss)
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
    yield from _check_loss_weight(head, slot, where, loss)


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
        return f"{start}: set {type_is(place, facts.ours)}"
    return (
        f"{start}: set {type_is(place, facts.ours)} and {place}.area_weight, and "
        "leave the loss as the recipe has it"
    )


def _check_positive_weight(
    head: nn.Module, place: str, slot: str, loss: PosWeightedCrossEntropyLoss
) -> Iterator[Finding]:
    facts, name = facts_of(type(head)), type(head).__name__
    where = f"{place}.{slot}"
    if not is_known(type(head)):
        yield _unknown(head, slot, where, loss)
        return
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
    if loss.avg_by_weight and not isinstance(head, BBoxHead):
        yield Finding(
            f"{where}.avg_by_weight",
            f"True divides by the weights of one call, and {name} calls {slot} once a "
            "level, or counts over all ranks: leave it out, it is for the box heads of "
            "two-stage detectors",
        )
    own = _own_loss(head, slot).get("reduction", loss.reduction)
    if loss.reduction != own:
        yield Finding(
            where,
            f"reduction={loss.reduction!r}, where {name} counts on {own!r}: set "
            f"reduction={own!r}",
        )
    yield from _check_loss_weight(head, slot, where, loss)


def _check_loss_weight(
    head: nn.Module, slot: str, where: str, loss: Loss
) -> Iterator[Finding]:
    """Without a weight in its config, a loss has 1.0, which is seldom the recipe's."""
    facts = facts_of(type(head))
    if slot != "loss_cls" or facts is UNKNOWN:
        return
    scale = head.num_classes / 80 * 3 / head.num_levels if facts.is_scaled else 1.0
    scaled = [weight * scale for weight in facts.loss_weights]
    if any(isclose(loss.loss_weight, w) for w in (*scaled, *facts.loss_weights)):
        return
    own = " or ".join(f"{weight:g}" for weight in scaled)
    yield Finding(
        where,
        f"loss_weight={loss.loss_weight}, where the recipes of {type(head).__name__} "
        f"have {own}: write loss_weight={own}, unless it is meant (_delete_=True drops "
        "the recipe's)",
        is_error=False,
    )


def _unknown(head: nn.Module, slot: str, where: str, loss: Loss) -> Finding:
    return Finding(
        where,
        f"{type(head).__name__} is none of the heads that this package knows: how it "
        f"calls {slot}, sums and divides is unknown. Compare the first losses with "
        f"{type(loss).__name__} to those with the loss of the recipe, which it should "
        "be at neutral settings, or keep that one",
        is_error=False,
    )


def _keep_its_loss(head: nn.Module, slot: str) -> str:
    own = _own_loss(head, slot)
    return f"Leave {slot} as the recipe has it" + (f", {own}" if own else "")


def _own_loss(head: nn.Module, slot: str) -> dict:
    """The config of a loss that a head has by default; empty if it has none."""
    default = default_of(type(head), slot)
    return dict(default) if isinstance(default, Mapping) else {}


Check = Callable[[nn.Module, str, str, nn.Module], Iterator[Finding]]
CHECKS: dict[type, Check] = {
    AreaAwareBCELoss: _check_bce,
    PosWeightedCrossEntropyLoss: _check_positive_weight,
}
