"""Networks by name."""

from kdloss.models.batchnorm import recalibrate_batchnorm, set_batchnorm_momentum
from kdloss.models.registry import architectures, build_model, count_parameters

__all__ = [
    "architectures",
    "build_model",
    "count_parameters",
    "recalibrate_batchnorm",
    "set_batchnorm_momentum",
]
