"""Losses: pure functions of points, and Keras losses made of them. Keras is imported when one is asked for."""

import importlib

_MODULES = {
    "kd_presets": ("KD_PRESETS", "KDLossConfig"),
    "kd": ("AssistiveLoss", "KDLoss", "assistive_loss", "kd_loss", "kd_loss_terms", "main_loss"),
    "feature_distillation": ("feature_aligned_loss", "patch_similarity_loss"),
    "heatmap_losses": ("heatmap_loss",),
    "point_losses": ("l1", "l2", "point_loss", "smooth", "wing"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
