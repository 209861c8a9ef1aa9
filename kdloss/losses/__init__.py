"""Losses: pure functions of points, and keras Losses made of them. Keras is imported when one is asked for."""

import importlib

_HOMES = {
    "KD_PRESETS": "kd_presets",
    "KDLossConfig": "kd_presets",
    "AssistiveLoss": "kd",
    "assistive_loss": "kd",
    "feature_aligned_loss": "feature_distillation",
    "heatmap_loss": "heatmap_losses",
    "KDLoss": "kd",
    "kd_loss": "kd",
    "kd_loss_terms": "kd",
    "main_loss": "kd",
    "patch_similarity_loss": "feature_distillation",
    "l1": "point_losses",
    "l2": "point_losses",
    "point_loss": "point_losses",
    "smooth": "point_losses",
    "wing": "point_losses",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
