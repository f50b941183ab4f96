"""The heads of a model's config, and our own in their place."""

from collections.abc import Callable, Mapping, MutableMapping
from typing import NamedTuple

from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads import BaseRoIHead, BBoxHead
from mmengine.config import ConfigDict

from ..model_config import Part, class_of, default_of, parts, takes, type_name
from ..models.losses import AreaAwareBCELoss
from ..preflight.heads import HEADS, facts_of, heads_with, is_known
from .errors import SwitchError

OUR_LOSS = "AreaAwareBCELoss"
SLOTS = ("bbox_head", "rpn_head")
# They take weights of the labels, and use them as a mask or not at all.
HAVE_NO_WEIGHTS = ("GHMC", "EQLV2Loss")
ROI_HEADS = dict(
    StandardRoIHead="AreaAwareStandardRoIHead",
    CascadeRoIHead="AreaAwareCascadeRoIHead",
)
LOOK_BEYOND_THE_BOX = ("BoxScaleWeight", "PyramidMembershipWeight")
# They ask for targets without the predictions that AreaMismatchWeight compares with
ASK_FOR_TARGETS_ALONE = ("PISARoIHead", "SoftTeacher")


class FoundHead(NamedTuple):
    """A head in the config of a model that this package has a head for."""

    place: str  # a dotted path in the config
    cfg: MutableMapping
    cls: type  # that the config builds now
    ours: type
    name_of_ours: str

    @property
    def is_ours(self) -> bool:
        """Whether the config has the size-aware form already."""
        return self.cls is self.ours

    @property
    def weighs_by_itself(self) -> bool:
        """Whether the area weight goes to the head; else ``loss_cls`` has it."""
        return takes(self.ours, "area_weight")

    @property
    def loss_cls(self) -> Mapping:
        """The config of its classification loss; empty if it has none of its own."""
        return self.cfg.get("loss_cls") or default_of(self.cls, "loss_cls") or {}

    def has_area_weight(self) -> bool:
        """Whether one is on."""
        if not self.weighs_by_itself:
            return self.loss_cls.get("area_weight") is not None
        return self.cfg.get("area_weight") is not None

    def put_ours(self) -> None:
        """Put our head in its place, which does what the stock head does."""
        self.cfg["type"] = self.name_of_ours
        if (
            self.cfg.get("ignore_iof_thr", -1) != -1
        ):  # mmyolo's ignored boxes for YOLOv5
            self.cfg["ignore_iof_thr"] = -1  # ours leaves them out by itself
        if not self.weighs_by_itself and self._why_no_area_weight() is None:
            self.cfg["loss_cls"] = ConfigDict(self.loss_cls, type=OUR_LOSS)

    def switch_area_weight_on(self, area_weight: Mapping) -> None:
        """Weigh positives by the area of their box; after ``put_ours``.

        Raises:
            SwitchError: It is on already, or its loss cannot be weighted.
        """
        if self.has_area_weight():
            raise SwitchError(
                f"{self.place} has an area weight already: leave area_weight out, or "
                "change that of the config"
            )
        reason = self._why_no_area_weight()
        if reason is not None:
            raise SwitchError(
                f"{self.place}.loss_cls: {reason}. Leave area_weight out, or give the "
                "head another loss first"
            )
        target = self.cfg if self.weighs_by_itself else self.cfg["loss_cls"]
        target["area_weight"] = ConfigDict(area_weight)

    def switch_penalty_on(self, penalty: Mapping) -> None:
        """Penalise confident background; after ``put_ours``.

        Raises:
            SwitchError: It is on already, or the head has no such thing.
        """
        if not takes(self.ours, "loss_bg"):
            raise SwitchError(
                f"{self.place}: {type_name(self.cfg)} has no background penalty: leave "
                f"bg_penalty out. The heads that have it: {heads_that_take('loss_bg')}"
            )
        if self.cfg.get("loss_bg") is not None:
            raise SwitchError(
                f"{self.place} has a background penalty already: leave bg_penalty out, "
                "or change that of the config"
            )
        gain = dict(loss_weight=self.loss_cls.get("loss_weight", 1.0))
        self.cfg["loss_bg"] = ConfigDict(gain | dict(penalty))

    def switch_balance_on(self, balance: float) -> None:
        """Have objects of few positives count more in the box losses.

        Raises:
            SwitchError: It is on already, or the head has no such thing.
        """
        if not takes(self.ours, "balance_objects"):
            raise SwitchError(
                f"{self.place}: {type_name(self.cfg)} has no balance of objects: leave "
                "balance_objects out. The heads that have it: "
                f"{heads_that_take('balance_objects')}"
            )
        if self.cfg.get("balance_objects"):
            raise SwitchError(
                f"{self.place} balances objects already: leave balance_objects out, or "
                "change that of the config"
            )
        self.cfg["balance_objects"] = balance

    def _why_no_area_weight(self) -> str | None:
        """Why its loss cannot be weighted by area; None if it can."""
        loss, name = self.loss_cls, type_name(self.loss_cls)
        if self.weighs_by_itself:
            if name in HAVE_NO_WEIGHTS:
                return f"{name} uses no weights of labels"
            return None
        if name == OUR_LOSS:
            return None
        if name != "CrossEntropyLoss" or not loss.get("use_sigmoid"):
            return f"{name} is no sigmoid cross-entropy, which {OUR_LOSS} would replace"
        for key, value in loss.items():
            # class_weight is a weight of positives there, and of classes here
            is_same = key in ("type", "_scope_") or takes(AreaAwareBCELoss, key)
            if value is not None and (not is_same or key == "class_weight"):
                return f"{OUR_LOSS} has no {key}={value!r} as {name} has"
        return None


def find_heads(model: Mapping, scope: str | None) -> list[FoundHead]:
    """The heads of a model, if this package has one for each of them.

    Args:
        model: Its config.
        scope: Where its types are looked up, as in ``model_config.parts``.

    Returns:
        They, each once, in the order of the config.

    Raises:
        SwitchError: There is none, or one that is not in the table of heads
            (``mmareaaware/preflight/heads.py``) or has no form of this package.
    """
    # A list may hold the same dict several times
    found = {id(part.cfg): part for part in parts(model, scope=scope)}
    heads = [part for part in found.values() if _is_head(part)]
    if not heads:
        raise SwitchError(
            f"model.type={type_name(model)!r} has no head that is known here. "
            f"Those that are: {heads_with('ours')}"
        )
    return [_found(part) for part in heads]


def _is_head(part: Part) -> bool:
    cls = part.cls
    if cls is None:
        return bool(part.name) and part.slot in SLOTS
    return is_known(cls) or issubclass(cls, BaseDenseHead | BBoxHead)


def _found(part: Part) -> FoundHead:
    cls = part.cls
    if cls is None:
        raise SwitchError(
            f"{part.place}.type={part.cfg['type']!r} is not registered: import it in "
            "custom_imports, and set default_scope to the library that has it"
        )
    facts = facts_of(cls)
    ours = facts.ours and class_of(dict(type=facts.ours))
    if not ours or cls not in (ours, _stock_of(ours)):
        names = [base.__name__ for base in cls.__mro__[1:]]
        base = next((name for name in names if name in HEADS), None)
        raise SwitchError(
            f"{part.place}: there is no size-aware form of {part.name}"
            f"{f', which descends from {base}' if base else ''}. The heads that have "
            f"one: {heads_with('ours')}"
        )
    return FoundHead(part.place, part.cfg, cls, ours, facts.ours)


def _stock_of(ours: type) -> type:
    """The head that one of this package does the same as, but for what is asked."""
    package = __name__.partition(".")[0]
    bases = ours.__mro__[1:]
    return next(base for base in bases if base.__module__.partition(".")[0] != package)


def tell_roi_heads(model: Mapping, scope: str | None, area_weight: Mapping) -> None:
    """Have RoI heads tell their box heads what some area weights look at.

    Args:
        model: The config, with our heads in it; changed in place.
        scope: As for ``find_heads``.
        area_weight: That of the box heads.

    Raises:
        SwitchError: A RoI head cannot, and the area weight needs it.
    """
    for part in parts(model, scope=scope):
        asks_alone = part.name in ASK_FOR_TARGETS_ALONE
        if asks_alone and type_name(area_weight) == "AreaMismatchWeight":
            raise SwitchError(
                f"{part.place}: {part.name} asks its box head for targets without "
                "predictions, which AreaMismatchWeight compares boxes with: choose "
                "another area weight"
            )
        if part.cls is None or not issubclass(part.cls, BaseRoIHead):
            continue
        if part.name in ROI_HEADS:
            part.cfg["type"] = ROI_HEADS[part.name]
        elif type_name(area_weight) in LOOK_BEYOND_THE_BOX:
            raise SwitchError(
                f"{part.place}: {part.name} does not tell its box heads what "
                f"{type_name(area_weight)} looks at: choose another area weight"
            )


def heads_that_take(argument: str) -> str:
    """The names of the heads of which our form has an argument, for a message."""
    return heads_where(lambda ours: takes(ours, argument))


def heads_where(condition: Callable[[type], bool]) -> str:
    """The names of the heads whose form of ours fulfils a condition, for a message."""
    ours = {
        name: head.ours and class_of(dict(type=head.ours))
        for name, head in HEADS.items()
    }
    return ", ".join(name for name, cls in ours.items() if cls and condition(cls))
