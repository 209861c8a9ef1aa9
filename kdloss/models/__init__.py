"""Networks by name. Keras is imported when one is asked for."""

import importlib

_HOMES = {
    "architecture_names": "architectures",
    "depends_on_side": "architectures",
    "predicts_heatmaps": "architectures",
    "require_side": "architectures",
    "build_model": "build",
    "count_parameters": "build",
    "recalibrate_batchnorm": "build",
    "set_batchnorm_momentum": "build",
    "deployed": "outputs",
    "observed": "outputs",
    "feature_maps": "outputs",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
