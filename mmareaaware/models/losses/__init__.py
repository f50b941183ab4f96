"""Losses, area weights and class balance."""

from .area_aware_bce_loss import AreaAwareBCELoss, area_aware_bce_loss
from .area_weights import (
    AreaMismatchWeight,
    AreaWeight,
    BoxScaleWeight,
    LogAreaWeight,
    Positives,
    PowerAreaWeight,
    PyramidMembershipWeight,
    StepAreaWeight,
)
from .bg_penalty_loss import BgPenaltyLoss, bg_penalty, bg_penalty_loss
from .class_balance import EffectiveNumberWeight, InverseFrequencyWeight, LDAMMargin
from .overlaps import box_overlaps
from .pos_weighted_cross_entropy_loss import PosWeightedCrossEntropyLoss
from .positive_box_losses import PositiveBoxLosses
from .prior_maps import PriorMaps, PriorPlaces
from .ranks import add_ranks, share
from .score_logits import foreground_logits, joint_logits
from .soft_bce import soft_bce
from .sparse_logits import SparseLogits
from .sparse_targets import SparseTargets
from .weighting import AreaWeighting

__all__ = [
    "AreaAwareBCELoss",
    "AreaMismatchWeight",
    "AreaWeight",
    "AreaWeighting",
    "BgPenaltyLoss",
    "BoxScaleWeight",
    "EffectiveNumberWeight",
    "InverseFrequencyWeight",
    "LDAMMargin",
    "LogAreaWeight",
    "PosWeightedCrossEntropyLoss",
    "PositiveBoxLosses",
    "Positives",
    "PowerAreaWeight",
    "PriorMaps",
    "PriorPlaces",
    "PyramidMembershipWeight",
    "SparseLogits",
    "SparseTargets",
    "StepAreaWeight",
    "add_ranks",
    "area_aware_bce_loss",
    "bg_penalty",
    "bg_penalty_loss",
    "box_overlaps",
    "foreground_logits",
    "joint_logits",
    "share",
    "soft_bce",
]
