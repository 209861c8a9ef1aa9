"""The optimizer of a run and its learning rate schedule."""

import keras


class ResumableAdamW(keras.optimizers.AdamW):
    """AdamW that leaves the weights unchanged when ``fit`` ends."""

    def finalize_variable_values(self, var_list):
        """Does nothing. Keras would replace the weights by their moving average at the end of each ``fit``, but another
        ``fit`` may follow. The recorder validates and saves the average itself."""


def optimizer_for(config, steps):
    """The AdamW of a `TrainConfig` whose epochs have ``steps`` steps."""
    optimizer = ResumableAdamW(
        _schedule(config, steps),
        weight_decay=config.weight_decay,
        use_ema=config.ema > 0,
        ema_momentum=config.ema or 0.99,
    )
    # Only kernels decay: shrinking biases and normalisation gains does not regularise.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _schedule(config, steps):
    schedules = keras.optimizers.schedules
    if config.schedule == "inverse-time":
        return schedules.InverseTimeDecay(config.learning_rate, decay_steps=1, decay_rate=1e-4)
    if config.schedule == "steps":
        ends = [max(1, round(share * config.epochs)) * steps for share in (3 / 8, 5 / 8)]
        return schedules.PiecewiseConstantDecay(ends, [config.learning_rate * 0.1**n for n in range(3)])
    total, warmup = config.epochs * steps, round(config.warmup_epochs * steps)
    return schedules.CosineDecay(
        config.learning_rate / 100 if warmup else config.learning_rate,
        decay_steps=max(1, total - warmup),
        alpha=0.01,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
