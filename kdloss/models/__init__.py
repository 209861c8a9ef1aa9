"""Networks by name."""

from kdloss.models.batchnorm import recalibrate_batchnorm, set_batchnorm_momentum
from kdloss.models.feature_maps import deployed, feature_maps, observed
from kdloss.models.registry import architectures, build_model, count_parameters, predicts_heatmaps

__all__ = [
    "architectures",
    "build_model",
    "count_parameters",
    "deployed",
    "feature_maps",
    "observed",
    "predicts_heatmaps",
    "recalibrate_batchnorm",
    "set_batchnorm_momentum",
]
