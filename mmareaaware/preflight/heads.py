"""What the heads of mmdet and mmyolo take of this package, as a table."""

from typing import NamedTuple


class Head(NamedTuple):
    """What one class of heads takes.

    Attributes:
        ours: The head of this package to set in its place, for area weights.
        form: Of cross-entropy that its classification is made for, ``'sigmoid'`` or
            ``'softmax'``; None where its own loss has a quality in its targets or costs
            that go with the loss.
        slots: Losses that may be a cross-entropy of that form.
        reductions: Of an ``AreaAwareBCELoss`` without area weight that is its own
            loss then; empty where there is none.
        calls_sparse_assigner: Whether it asks its assigner for soft targets as
            ``BatchTaskAlignedAssigner`` gives them.
    """

    ours: str | None = None
    form: str | None = None
    slots: tuple[str, ...] = ("loss_cls",)
    reductions: tuple[str, ...] = ()
    calls_sparse_assigner: bool = False


_WITH_OBJECTNESS = Head(form="sigmoid", slots=("loss_cls", "loss_obj"))
_ON_LABELS = Head(form="sigmoid")
_ON_QUALITY = Head()
_VARIFOCAL = Head(calls_sparse_assigner=True)

# By name, so that no head needs to be there. A class that is not in here is what the
# first of its bases is that is: all heads of mmyolo but two descend from YOLOv5Head.
HEADS = dict(
    YOLOv5Head=_WITH_OBJECTNESS,
    YOLOXHead=_WITH_OBJECTNESS,
    YOLOv6Head=_VARIFOCAL,
    PPYOLOEHead=_VARIFOCAL,
    YOLOv8Head=Head(
        ours="AreaAwareYOLOv8Head",
        form="sigmoid",
        reductions=("none", "sum"),
        calls_sparse_assigner=True,
    ),
    RTMDetHead=_ON_QUALITY,
    RetinaHead=Head(ours="AreaAwareRetinaHead", form="sigmoid"),
    ATSSHead=Head(ours="AreaAwareATSSHead", form="sigmoid"),
    RPNHead=Head(ours="AreaAwareRPNHead", form="sigmoid"),
    FCOSHead=_ON_LABELS._replace(ours="AreaAwareFCOSHead"),
    GFLHead=_ON_QUALITY._replace(ours="AreaAwareGFLHead"),
    VFNetHead=_ON_QUALITY,
    TOODHead=_ON_QUALITY._replace(ours="AreaAwareTOODHead"),
    RTMDetSepBNHead=_ON_QUALITY._replace(ours="AreaAwareRTMDetSepBNHead"),
    SSDHead=_ON_QUALITY._replace(ours="AreaAwareSSDHead"),  # it has no loss module
    DETRHead=_ON_QUALITY,
    DeformableDETRHead=_ON_QUALITY._replace(ours="AreaAwareDeformableDETRHead"),
    DINOHead=_ON_QUALITY._replace(ours="AreaAwareDINOHead"),
    BBoxHead=Head(form="softmax"),
    Shared2FCBBoxHead=Head(ours="AreaAwareShared2FCBBoxHead", form="softmax"),
)
# mmdet's where mmyolo has another head of that name
HEADS["mmdet.YOLOXHead"] = _WITH_OBJECTNESS._replace(ours="AreaAwareMMDetYOLOXHead")
HEADS["mmdet.RTMDetHead"] = _ON_QUALITY._replace(ours="AreaAwareMMDetRTMDetHead")
UNKNOWN = Head(slots=())


def is_known(head: type) -> bool:
    """Whether the table has a class of heads, or one that it descends from."""
    return facts_of(head) is not UNKNOWN


def facts_of(head: type) -> Head:
    """The line of the table for a class; ``UNKNOWN`` where there is none."""
    lines = map(line_of, head.__mro__)
    return next((line for line in lines if line is not UNKNOWN), UNKNOWN)


def line_of(head: type) -> Head:
    """The line of the table for a class itself; ``UNKNOWN`` where there is none."""
    library = head.__module__.partition(".")[0]
    own = HEADS.get(head.__name__, UNKNOWN)
    return HEADS.get(f"{library}.{head.__name__}", own)


def heads_with(field: str) -> str:
    """The names of the heads that have something, for a message."""
    return ", ".join(name for name, head in HEADS.items() if getattr(head, field))
