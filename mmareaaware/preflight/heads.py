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
        overlap: That its recipes assign by.
        loss_weights: Of ``loss_cls``, in its stock recipes for COCO.
        is_scaled: Whether the recipes multiply these by C / 80 · 3 / L, for C classes
            on L levels.
    """

    ours: str | None = None
    form: str | None = None
    slots: tuple[str, ...] = ("loss_cls",)
    reductions: tuple[str, ...] = ()
    calls_sparse_assigner: bool = False
    overlap: str = "CIoU"
    loss_weights: tuple[float, ...] = (1.0,)
    is_scaled: bool = False


_WITH_OBJECTNESS = Head(form="sigmoid", slots=("loss_cls", "loss_obj"))
# The smaller models have the first weight, the larger the second.
_YOLOV5 = _WITH_OBJECTNESS._replace(loss_weights=(0.5, 0.3), is_scaled=True)
_ON_LABELS = Head(form="sigmoid")
_ON_QUALITY = Head()
_VARIFOCAL = Head(calls_sparse_assigner=True, overlap="IoU")

# By name, so that no head needs to be there.
HEADS = dict(
    YOLOv5Head=_YOLOV5._replace(ours="AreaAwareYOLOv5Head"),
    YOLOv7Head=_YOLOV5._replace(ours="AreaAwareYOLOv7Head"),
    YOLOXHead=_WITH_OBJECTNESS._replace(ours="AreaAwareYOLOXHead"),
    YOLOv6Head=_VARIFOCAL._replace(ours="AreaAwareYOLOv6Head"),
    PPYOLOEHead=_VARIFOCAL._replace(ours="AreaAwarePPYOLOEHead"),
    YOLOv8Head=Head(
        ours="AreaAwareYOLOv8Head",
        form="sigmoid",
        reductions=("none", "sum"),
        calls_sparse_assigner=True,
        loss_weights=(0.5,),
    ),
    RTMDetHead=_ON_QUALITY._replace(ours="AreaAwareRTMDetHead"),
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
    ConditionalDETRHead=_ON_QUALITY,
    DeformableDETRHead=_ON_QUALITY._replace(ours="AreaAwareDeformableDETRHead"),
    DINOHead=_ON_QUALITY._replace(ours="AreaAwareDINOHead"),
    BBoxHead=Head(form="softmax"),
    Shared2FCBBoxHead=Head(ours="AreaAwareShared2FCBBoxHead", form="softmax"),
)
# mmdet's where mmyolo has another head of that name
HEADS["mmdet.YOLOXHead"] = _WITH_OBJECTNESS._replace(ours="AreaAwareMMDetYOLOXHead")
HEADS["mmdet.RTMDetHead"] = _ON_QUALITY._replace(ours="AreaAwareMMDetRTMDetHead")
UNKNOWN = Head(slots=())
PACKAGE = __name__.partition(".")[0]


def is_known(head: type) -> bool:
    """Whether there are facts about a class of heads."""
    return facts_of(head) is not UNKNOWN


def facts_of(head: type) -> Head:
    """The line of the table for a class, or for the one that its losses are from.

    ``UNKNOWN`` where there is none: a head that computes its losses itself is another,
    whatever it descends from. Those of this package keep to what they descend from.
    """
    for cls in head.__mro__:
        line = line_of(cls)
        if line is not UNKNOWN:
            return line
        if cls.__module__.partition(".")[0] != PACKAGE and _computes_losses(cls):
            break
    return UNKNOWN


def line_of(head: type) -> Head:
    """The line of the table for a class itself; ``UNKNOWN`` where there is none."""
    library = head.__module__.partition(".")[0]
    own = HEADS.get(head.__name__, UNKNOWN)
    return HEADS.get(f"{library}.{head.__name__}", own)


def _computes_losses(cls: type) -> bool:
    return any(k.startswith("loss") and callable(v) for k, v in vars(cls).items())


def heads_with(field: str) -> str:
    """The names of the heads that have something, for a message."""
    return ", ".join(name for name, head in HEADS.items() if getattr(head, field))
