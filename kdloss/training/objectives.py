"""What each kind of run minimises, as a function of named point sets."""

from kdloss.losses import KD_PRESETS, kd_loss_terms, point_loss


def objective_for(config):
    """The objective of a `TrainConfig`.

    Returns:
        ``(objective, names)``: ``objective(targets, predicted) -> dict`` of loss terms, and the terms' names.
    """
    if config.method == "kd-loss":
        return _kd_objective(config)
    loss = point_loss(config.loss)
    target = "soft" if config.kind == "tolerant" else "hard"
    name = f"{config.loss}_{target}"

    def objective(targets, predicted):
        return {name: loss(targets[target], predicted)}

    return objective, [name]


def _kd_objective(config):
    import dataclasses

    preset = dataclasses.replace(KD_PRESETS[config.kd_preset], unit=config.unit)

    def objective(targets, predicted):
        return kd_loss_terms(
            targets["hard"],
            predicted,
            targets.get("tough"),
            targets.get("tolerant"),
            preset,
            config.image_size,
        )

    return objective, ["main", *config.teachers]
