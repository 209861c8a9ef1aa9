"""Losses: pure functions of points, and keras Losses made of them."""

from kdloss.losses.assistive import AssistiveLoss, assistive_loss
from kdloss.losses.feature_aligned import feature_aligned_loss
from kdloss.losses.heatmap import heatmap_loss
from kdloss.losses.kd import KD_PRESETS, KDLoss, KDLossConfig, kd_loss, kd_loss_terms, main_loss
from kdloss.losses.patch_similarity import patch_similarity_loss
from kdloss.losses.points import l1, l2, point_loss, smooth, wing

__all__ = [
    "KD_PRESETS",
    "AssistiveLoss",
    "KDLoss",
    "KDLossConfig",
    "assistive_loss",
    "feature_aligned_loss",
    "heatmap_loss",
    "kd_loss",
    "kd_loss_terms",
    "l1",
    "l2",
    "main_loss",
    "patch_similarity_loss",
    "point_loss",
    "smooth",
    "wing",
]
