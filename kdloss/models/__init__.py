"""Networks by name. Keras is imported when one is asked for."""

import importlib

_MODULES = {
    "architectures": ("architecture_names", "predicts_heatmaps", "require_side"),
    "build": ("build_model",),
    "outputs": ("deployed", "feature_maps", "observed"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
