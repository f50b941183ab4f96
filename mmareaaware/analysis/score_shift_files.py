"""The config that a score shift is fitted with, and the checkpoint that gets it."""

from copy import deepcopy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from ..models.dense_heads.size_score_shift import ScoreShiftMixin
from .score_shift_fit import FittedShift, ScoreShiftError


def prepare(cfg: Config, split: str) -> None:
    """Make a config test the data that a shift is fitted on.

    Args:
        cfg: Of a training; changed in place. Its head gets a ``score_shift``, if it has
            none.
        split: ``'train'``: the images of the training set through the pipeline of
            testing; ``'val'``: the validation set.

    Raises:
        ScoreShiftError: The head has no score shift, or the training set is no single
            one.
    """
    head = cfg.model.get("bbox_head") or {}
    kind = MODELS.get(head["type"]) if "type" in head else None
    if not (isinstance(kind, type) and issubclass(kind, ScoreShiftMixin)):
        raise ScoreShiftError(
            "a score shift is for bbox_head=dict(type='AreaAwareYOLOv8Head'), the "
            f"config has {head.get('type')}"
        )
    if not head.get("score_shift"):
        head.score_shift = dict(type="SizeScoreShift")
    cfg.test_dataloader = deepcopy(cfg.val_dataloader)
    if split == "train":
        images = cfg.train_dataloader.dataset
        while "dataset" in images:
            images = images.dataset
        if "ann_file" not in images:
            raise ScoreShiftError(
                "the training set has no ann_file, it is made of "
                f"{images.get('type')}: fit on the validation set, --on val"
            )
        own = ("type", "data_root", "ann_file", "data_prefix", "metainfo")
        cfg.test_dataloader.dataset.update({k: images[k] for k in own if k in images})
    cfg.test_evaluator = dict(type="MatchedDetections")
    cfg.custom_hooks = []  # of trainings; the weights of a checkpoint are the averages


def with_shift(checkpoint: dict, fitted: FittedShift) -> dict:
    """A checkpoint of MMEngine with the shift; weights only, not to be resumed.

    Args:
        checkpoint: Of the network that the shift was fitted on.
        fitted: The shift.
    """
    prefix = "bbox_head.score_shift."
    shift = {
        f"{prefix}{name}": torch.as_tensor(values, dtype=torch.float32)
        for name, values in (("sides", fitted.sides), ("shifts", fitted.shifts))
    }
    return dict(
        meta=checkpoint.get("meta", {}), state_dict=checkpoint["state_dict"] | shift
    )
