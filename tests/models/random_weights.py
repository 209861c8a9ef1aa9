"""Random weights: a fresh heatmap network has flat heatmaps, which all read-outs read alike."""

import numpy as np


def randomise(model, seed=0):
    """Fills a network with random kernels; statistics and factors are positive. Returns it."""
    rng = np.random.default_rng(seed)
    shapes = [weight.shape for weight in model.get_weights()]
    model.set_weights([rng.normal(size=x) if len(x) > 1 else rng.uniform(0.5, 1.5, x) for x in shapes])
    return model
