"""What each kind of run minimises, as a function of named point sets and of what the network says."""

import dataclasses

from kdloss.losses import KD_PRESETS, heatmap_loss, kd_loss_terms, point_loss


def objective_for(config):
    """The objective of a `TrainConfig`, feature distillation excepted (`kdloss.training.feature_distillation`).

    Returns:
        ``(objective, names)``: ``objective(targets, outputs) -> dict`` of loss terms, and the terms' names.
        ``targets`` holds point sets (B, N, 2) by name, ``outputs`` the network's ``"points"`` and, of heatmap
        networks, ``"logits"``.
    """
    points, names = _kd_terms(config) if config.by_points else _point_terms(config)
    if config.heatmap_loss == "none":
        return points, names
    loss, target = heatmap_loss(config.heatmap_loss), _target(config)

    def objective(targets, outputs):
        heatmaps = config.heatmap_weight * loss(targets[target], outputs["logits"])
        return points(targets, outputs) | {"heatmap": heatmaps}

    return objective, [*names, "heatmap"]


def _target(config):
    return "soft" if config.kind == "tolerant" else "hard"


def _point_terms(config):
    loss, target = point_loss(config.loss), _target(config)
    name = f"{config.loss}_{target}"

    def objective(targets, outputs):
        return {name: loss(targets[target], outputs["points"])}

    return objective, [name]


def _kd_terms(config):
    preset = dataclasses.replace(KD_PRESETS[config.kd_preset], unit=config.unit)

    def objective(targets, outputs):
        return kd_loss_terms(
            targets["hard"],
            outputs["points"],
            targets.get("tough"),
            targets.get("tolerant"),
            preset,
            config.image_size,
        )

    return objective, ["main", *config.teachers]
