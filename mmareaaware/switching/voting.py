"""Box voting in the ``test_cfg`` of a model."""

from collections.abc import Mapping, MutableMapping

from mmengine.config import ConfigDict

from ..model_config import type_name
from ..models.dense_heads.box_voting import votes
from .errors import SwitchError
from .heads import FoundHead, heads_where


def switch_voting_on(
    model: MutableMapping, heads: list[FoundHead], settings: Mapping
) -> None:
    """Vote on the detections, where the heads look for it; after ``put_ours``.

    Args:
        model: The config; changed in place.
        heads: All that it has.
        settings: Config of the ``BoxVoting``.

    Raises:
        SwitchError: It is on already, or a head gives no detections that go through
            NMS.
    """
    for head in heads:
        if not votes(head.ours):
            raise SwitchError(
                f"{head.place}: the detections of {type_name(head.cfg)} are not voted "
                f"on: leave box_voting out. The heads that vote: {heads_where(votes)}"
            )
        place = head.place.rpartition(".")[0]
        owner = _at(model, place)
        test_cfg = head.cfg.get("test_cfg") or owner.get("test_cfg") or ConfigDict()
        if test_cfg.get("box_voting") is not None:
            raise SwitchError(
                f"{place}.test_cfg has box_voting already: leave box_voting out, or "
                "change that of the config"
            )
        target = head.cfg if head.cfg.get("test_cfg") else owner
        target["test_cfg"] = ConfigDict(test_cfg, box_voting=ConfigDict(settings))


def _at(model: MutableMapping, place: str) -> MutableMapping:
    """The part of a model at a dotted path, which begins with its own name."""
    part = model
    for key in place.split(".")[1:]:
        part = part[int(key)] if isinstance(part, list) else part[key]
    return part
