from .area_aware_bce_loss import AreaAwareBCELoss, area_aware_bce_loss, soft_bce
from .area_weighted import AreaWeighted
from .area_weights import (
    AreaMismatchWeight,
    AreaWeight,
    BoxScaleWeight,
    LogAreaWeight,
    PowerAreaWeight,
    PyramidMembershipWeight,
    StepAreaWeight,
    weigh_priors,
)
from .avg_factor import share_of_total
from .bg_penalty_loss import BgPenaltyLoss, bg_penalty, bg_penalty_loss
from .class_balance import EffectiveNumberWeight, InverseFrequencyWeight, LDAMMargin
from .pos_weighted_cross_entropy_loss import PosWeightedCrossEntropyLoss
from .sparse_logits import SparseLogits
from .sparse_targets import SparseTargets

__all__ = [
    "AreaAwareBCELoss",
    "AreaMismatchWeight",
    "AreaWeight",
    "AreaWeighted",
    "BgPenaltyLoss",
    "BoxScaleWeight",
    "EffectiveNumberWeight",
    "InverseFrequencyWeight",
    "LDAMMargin",
    "LogAreaWeight",
    "PosWeightedCrossEntropyLoss",
    "PowerAreaWeight",
    "PyramidMembershipWeight",
    "SparseLogits",
    "SparseTargets",
    "StepAreaWeight",
    "area_aware_bce_loss",
    "bg_penalty",
    "bg_penalty_loss",
    "share_of_total",
    "soft_bce",
    "weigh_priors",
]
