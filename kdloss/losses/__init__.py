"""Losses: pure functions of points, and keras Losses made of them."""

from kdloss.losses.assistive import AssistiveLoss, assistive_loss
from kdloss.losses.kd import KD_PRESETS, KDLoss, KDLossConfig, kd_loss, kd_loss_terms, main_loss
from kdloss.losses.points import l1, l2, point_loss, smooth, wing

__all__ = [
    "KD_PRESETS",
    "AssistiveLoss",
    "KDLoss",
    "KDLossConfig",
    "assistive_loss",
    "kd_loss",
    "kd_loss_terms",
    "l1",
    "l2",
    "main_loss",
    "point_loss",
    "smooth",
    "wing",
]
