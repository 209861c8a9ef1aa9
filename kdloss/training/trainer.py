"""The trained step: a student, frozen teachers, and an objective that sees hard, soft and teachers' points alike."""

import dataclasses

import keras
from keras import ops

from kdloss.losses import KD_PRESETS, heatmap_loss, kd_loss_terms, point_loss
from kdloss.models import observed
from kdloss.training.fused_batchnorm import fused


def objective_for(config):
    """The objective of a `TrainConfig`, feature distillation excepted (`kdloss.losses.feature_distillation`).

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


class DistillationTrainer(keras.Model):
    """Wraps a network so that ``fit`` trains it by an objective over named point sets and feature maps.

    `keras.distillation.Distiller` takes one teacher and hides the labels from its losses; the KD-Loss needs both
    teachers and the labels in one formula, so the step is written here, in the terms of any back end.

    Args:
        student: the network that is trained: images (B, S, S, 3) -> points (B, N, 2).
        objective: ``objective(targets, outputs) -> dict`` of scalar loss terms, which are summed; ``targets`` is the
            batch's dict of (B, N, 2) point sets, teachers' outputs among them; ``outputs`` the student's ``"points"``
            and, with ``logits``, ``"logits"``.
        teachers: role -> frozen network, run online on the same views. Cached teachers come with the batch instead.
        logits: whether the objective asks for the logits of the student's heatmaps.
        feature_teacher: the frozen network whose feature maps the student follows, or None.
        feature_distillation: the `FeatureDistillation` that compares them.
        replicas: how many parts of a batch have a loss of their own, of which the back end takes the sum.
    """

    def __init__(
        self,
        student,
        objective,
        teachers=None,
        *,
        logits=False,
        feature_teacher=None,
        feature_distillation=None,
        replicas=1,
    ):
        super().__init__()
        self.student = student
        self.objective = objective
        self.replicas = replicas
        self.teachers = dict(teachers or {})
        self.feature_teacher = feature_teacher
        self.feature_distillation = feature_distillation
        for frozen in (*self.teachers.values(), *([feature_teacher] if feature_teacher else [])):
            frozen.trainable = False
        self.observed = fused(observed(student, logits=logits, maps=feature_teacher is not None))
        self.observed_teacher = observed(feature_teacher, maps=True) if feature_teacher else None
        self.term_trackers = {}

    def build(self, input_shape=None):
        self.built = True

    def call(self, images, training=False):
        return self.observed(ops.cast(images, "float32"), training=training)

    def track_terms(self, names):
        """Names the objective's terms, so that each has a running mean in the logs. Call before ``compile``."""
        if self.feature_distillation:
            names = [*names, *self.feature_distillation.terms]
        self.term_trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        images, targets = ops.cast(x, "float32"), dict(y)
        # training=False: neither dropout nor a moving statistic of a teacher changes.
        followed = self.observed_teacher(images, training=False) if self.feature_teacher else None
        for role, teacher in self.teachers.items():
            points = followed["points"] if teacher is self.feature_teacher else teacher(images, training=False)
            targets[role] = ops.stop_gradient(points)
        terms = self.objective(targets, y_pred)
        if self.feature_distillation:
            terms |= self.feature_distillation(y_pred["maps"], followed["maps"])
        for name, tracker in self.term_trackers.items():
            tracker.update_state(terms[name])
        loss = sum(terms.values())
        return loss if self.replicas == 1 else loss / self.replicas
