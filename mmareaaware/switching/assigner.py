"""The sparse assigner in place of MMYOLO's dense one."""

from collections.abc import Mapping

from mmengine.config import ConfigDict

from ..model_config import default_of, parts
from ..preflight.heads import facts_of, heads_with
from .errors import SwitchError

SPARSE = "SparseTaskAlignedAssigner"
DENSE = "BatchTaskAlignedAssigner"
# Where the two have other defaults
SETTINGS = ("topk", "alpha", "beta", "eps", "use_ciou")


def has_sparse_assigner(model: Mapping, scope: str | None) -> bool:
    """Whether a model has it already.

    Args:
        model: The config.
        scope: Where its types are looked up, as in ``model_config.parts``.
    """
    return any(part.name == SPARSE for part in parts(model, scope=scope))


def switch_assigner(model: Mapping, scope: str | None, settings: Mapping) -> None:
    """Put the sparse assigner where the dense one is, with the same settings.

    Args:
        model: The config; changed in place.
        scope: Where its types are looked up, as in ``model_config.parts``.
        settings: Of the sparse assigner, beyond those of the dense one.

    Raises:
        SwitchError: It is there already, or the model has no dense one.
    """
    all_parts = list(parts(model, scope=scope))
    for part in all_parts:
        if part.name == SPARSE:
            raise SwitchError(f"{part.place} is a {SPARSE} already: leave assigner out")
    assigners = {id(p.cfg): p.cfg for p in all_parts if p.name == DENSE}
    classes = [cls for part in all_parts if (cls := part.cls) is not None]
    if not (assigners and any(facts_of(cls).calls_sparse_assigner for cls in classes)):
        raise SwitchError(
            f"the model has no {DENSE}, which a {SPARSE} would replace: leave assigner "
            f"out. The heads that call one: {heads_with('calls_sparse_assigner')}"
        )
    for cfg in assigners.values():
        same = {key: cfg.get(key, _of_dense(key)) for key in SETTINGS}
        cfg.update(ConfigDict(same | dict(settings), type=SPARSE))


def _of_dense(key: str):
    from mmyolo.models.task_modules import BatchTaskAlignedAssigner

    return default_of(BatchTaskAlignedAssigner, key)
