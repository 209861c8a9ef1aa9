"""Losses: pure functions of points, and keras Losses made of them. Keras is imported when one is asked for."""

import importlib

_HOMES = {
    "KD_PRESETS": "kd_presets",
    "KDLossConfig": "kd_presets",
    "AssistiveLoss": "assistive",
    "assistive_loss": "assistive",
    "feature_aligned_loss": "feature_aligned",
    "heatmap_loss": "heatmap",
    "KDLoss": "kd",
    "kd_loss": "kd",
    "kd_loss_terms": "kd",
    "main_loss": "kd",
    "patch_similarity_loss": "patch_similarity",
    "l1": "points",
    "l2": "points",
    "point_loss": "points",
    "smooth": "points",
    "wing": "points",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
