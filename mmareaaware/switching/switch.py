"""The parts of this package, switched on in a config."""

from collections.abc import Mapping
from copy import deepcopy

from mmdet.models.detectors import SemiBaseDetector
from mmengine.config import Config, ConfigDict
from mmengine.registry import TRANSFORMS

from ..compat import has_mmyolo
from ..model_config import class_of, type_name
from ..models.dense_heads.box_voting import build_box_voting
from ..models.losses.bg_penalty_loss import DEFAULT_LAMBDA, BgPenaltyLoss
from ..models.losses.weighting import AreaWeighting
from .assigner import SPARSE, has_sparse_assigner, switch_assigner
from .changes import Change, differences
from .copy_paste import COPY_PASTE, with_copies
from .errors import SwitchError
from .heads import FoundHead, find_heads, tell_roi_heads
from .rising import rising_lambda_bg
from .voting import switch_voting_on

PACKAGE = "mmareaaware"
DEFAULT_PENALTY = dict(type="BgPenaltyLoss", mode="max", lambda_bg=DEFAULT_LAMBDA)
DEFAULT_COPY_PASTE = dict(type=COPY_PASTE, prob=1.0)  # as it was measured
DEFAULT_BALANCE = 0.5  # likewise
DEFAULT_VOTING = dict(type="BoxVoting")
# In the place of preprocessors of MMYOLO that drop the ignored boxes
IGNORE_AWARE = {
    f"{stock}DetDataPreprocessor": f"IgnoreAware{ours}DetDataPreprocessor"
    for stock, ours in (("YOLOv5", ""), ("PPYOLOE", "PPYOLOE"))
}


def switch_on(
    cfg: Config | ConfigDict,
    area_weight: Mapping | str | bool | None = None,
    bg_penalty: Mapping | float | bool | None = None,
    assigner: Mapping | str | bool | None = None,
    copy_paste: Mapping | bool | None = None,
    balance_objects: float | bool | None = None,
    box_voting: Mapping | bool | None = None,
) -> list[Change]:
    """Switch parts of this package on in the config of a detector.

    The heads of the model are found, wherever they are, and ours put in their place;
    loss weights and all that is not named here stay. With the penalty comes a hook that
    raises its λ_bg at the beginning of the training; with a head on MMYOLO what it
    takes to leave ignored boxes out of the losses.

    Args:
        cfg: The config; changed in place, or not at all.
        area_weight: Weighs positives by the area of their box: the config of an area
            weight, or its type. True: ``PowerAreaWeight``.
        bg_penalty: Penalises confident background: λ_bg, or the config of a
            ``BgPenaltyLoss``. True: as our recipes have it.
        assigner: Finds the positives without a tensor of boxes × priors:
            ``'SparseTaskAlignedAssigner'``, or its config, of which what is left out is
            what the config has. True: the same.
        copy_paste: Copies small objects to other places of their image, where a
            training loads its annotations: the config of a ``SmallObjectCopyPaste``.
            True: as in our comparisons, in every image.
        balance_objects: In the box losses of a YOLOv8 or YOLO11, how far objects are
            evened out, from 0, where each positive counts by its target, to 1, where
            each object has the same weight; with the assigner above,
            where it is not there. True: as in our comparisons, 0.5.
        box_voting: After NMS, boxes by the vote of their neighbours and scores by how
            they agree on place and class: the config of a ``BoxVoting``. Changes no
            training. True: with its defaults.

    Returns:
        What has changed, place by place.

    Raises:
        SwitchError: A head of the model is not known here, does not have what is asked
            for, or has it already; or nothing can be copied.
        ValueError: Nothing is asked for, or a setting is wrong.

    Example:
        On top of a config, in a file of its own:

        ```python
        _base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
        from mmareaaware import switch_on

        switch_on(_base_, area_weight="PowerAreaWeight")
        ```
    """
    weight, penalty = _area_weight_of(area_weight), _penalty_of(bg_penalty)
    settings, copies = _assigner_of(assigner), _copy_paste_of(copy_paste)
    balance = _balance_of(balance_objects)
    voting = _voting_of(box_voting)
    in_heads = (weight, penalty, balance, voting)
    if all(value is None for value in (*in_heads, settings, copies)):
        raise ValueError(
            "nothing to switch on: give area_weight, bg_penalty, assigner, copy_paste, "
            "balance_objects or box_voting"
        )
    if not cfg.get("model"):
        raise SwitchError("the config has no model: give the config of a training")
    new = dict(model=deepcopy(cfg["model"]), custom_imports=with_package(cfg))
    model, scope = new["model"], cfg.get("default_scope")
    if any(value is not None for value in in_heads):
        heads = find_heads(model, scope)
        for head in heads:
            head.put_ours()
            if weight is not None:
                head.switch_area_weight_on(weight)
            if penalty is not None:
                head.switch_penalty_on(penalty)
            if balance is not None:
                head.switch_balance_on(balance)
        if voting is not None:
            switch_voting_on(model, heads, voting)
        if weight is not None:
            tell_roi_heads(model, scope, weight)
    if any(value is not None for value in (*in_heads, copies)):
        new |= _ignored_boxes(cfg, model)
    if penalty is not None:
        hooks = new.get("custom_hooks", cfg.get("custom_hooks")) or []
        new["custom_hooks"] = [*hooks, *_rising(cfg, model, heads)]
    if copies is not None:
        if _is_semi(cfg, model):
            raise SwitchError(
                f"model.type={type_name(model)!r} learns from images whose boxes it "
                "must not see: leave copy_paste out"
            )
        new |= with_copies({**cfg, **new}, copies)
    if balance is not None and not has_sparse_assigner(model, scope):
        settings = settings or {}
    if settings is not None:
        switch_assigner(model, scope, settings)
    changes = [
        change
        for key, value in new.items()
        for change in differences(cfg.get(key), value, key)
    ]
    for key, value in new.items():
        cfg[key] = value
    return changes


def _area_weight_of(asked: Mapping | str | bool | None) -> dict | None:
    if asked is None or asked is False:
        return None
    if asked is True:
        asked = "PowerAreaWeight"
    weight = dict(type=asked) if isinstance(asked, str) else dict(asked)
    AreaWeighting().set_area_weight(weight, normalize="mean", strength=1.0)
    return weight


def _penalty_of(asked: Mapping | float | bool | None) -> dict | None:
    if asked is None or asked is False:
        return None
    if asked is True:
        asked = {}
    settings = dict(asked) if isinstance(asked, Mapping) else dict(lambda_bg=asked)
    penalty = DEFAULT_PENALTY | settings
    if type_name(penalty) != DEFAULT_PENALTY["type"]:
        raise ValueError(f"bg_penalty must be a BgPenaltyLoss, got {asked!r}")
    BgPenaltyLoss(**{k: v for k, v in penalty.items() if k != "type"})
    if not penalty["lambda_bg"]:
        raise ValueError("bg_penalty must be above 0, got 0: leave it out for none")
    return penalty


def _assigner_of(asked: Mapping | str | bool | None) -> dict | None:
    if asked is None or asked is False:
        return None
    if asked is True:
        asked = SPARSE
    settings = dict(type=asked) if isinstance(asked, str) else dict(asked)
    if settings.setdefault("type", SPARSE) != SPARSE:
        raise ValueError(f"assigner must be a {SPARSE}, got {asked!r}")
    return settings


def _copy_paste_of(asked: Mapping | bool | None) -> dict | None:
    if asked is None or asked is False:
        return None
    settings = DEFAULT_COPY_PASTE | ({} if asked is True else dict(asked))
    if type_name(settings) != COPY_PASTE:
        raise ValueError(f"copy_paste must be a {COPY_PASTE}, got {asked!r}")
    TRANSFORMS.build(settings)
    return settings


def _balance_of(asked: float | bool | None) -> float | None:
    if asked is None or asked is False:
        return None
    balance = DEFAULT_BALANCE if asked is True else asked
    if not 0 < balance <= 1:
        raise ValueError(f"balance_objects must be above 0 and up to 1, got {balance}")
    return balance


def _voting_of(asked: Mapping | bool | None) -> dict | None:
    if asked is None or asked is False:
        return None
    settings = DEFAULT_VOTING | ({} if asked is True else dict(asked))
    build_box_voting(dict(box_voting=settings))
    return settings


def with_package(cfg: Mapping) -> ConfigDict:
    """``custom_imports`` with this package."""
    imports = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
    names = imports.get("imports", [])
    names = [names] if isinstance(names, str) else list(names)
    if PACKAGE not in names:
        names.append(PACKAGE)
    return ConfigDict(imports, imports=names)


def _ignored_boxes(cfg: Mapping, model: Mapping) -> dict:
    """The parts of a config on MMYOLO that keep ignored boxes; empty on MMDetection.

    ``model`` is changed in place.
    """
    preprocessor = model.get("data_preprocessor") or {}
    ours = IGNORE_AWARE.get(type_name(preprocessor))
    if ours is None or not has_mmyolo():
        return {}
    from ..datasets import ignore_aware

    preprocessor["type"] = ours
    keys = [key for key in ("train_dataloader", "custom_hooks") if cfg.get(key)]
    return {key: ignore_aware(cfg[key]) for key in keys}


def _rising(cfg: Mapping, model: Mapping, heads: list[FoundHead]) -> list[ConfigDict]:
    """The hooks that raise λ_bg, one for each head."""
    is_semi = _is_semi(cfg, model)
    hooks = []
    for head in heads:
        place = head.place.removeprefix("model.")
        if is_semi:  # it builds two of its `detector`, of which one is trained
            place = place.replace("detector", "student", 1)
        param = f"{place}.loss_bg.lambda_bg"
        hook = rising_lambda_bg(param, cfg.get("train_cfg") or {})
        hooks.append(ConfigDict(hook))
    return hooks


def _is_semi(cfg: Mapping, model: Mapping) -> bool:
    cls = class_of(model, cfg.get("default_scope"))
    return cls is not None and issubclass(cls, SemiBaseDetector)
