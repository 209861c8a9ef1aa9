"""Networks by name."""

from kdloss.architectures import architectures, depends_on_side, predicts_heatmaps, require_side
from kdloss.models.batchnorm import recalibrate_batchnorm, set_batchnorm_momentum
from kdloss.models.feature_maps import deployed, feature_maps, observed
from kdloss.models.registry import build_model, count_parameters

__all__ = [
    "architectures",
    "build_model",
    "count_parameters",
    "depends_on_side",
    "deployed",
    "feature_maps",
    "observed",
    "predicts_heatmaps",
    "recalibrate_batchnorm",
    "require_side",
    "set_batchnorm_momentum",
]
