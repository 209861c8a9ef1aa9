"""The training step: one loss compares the student with the labels and with its teachers."""

import dataclasses

import keras
from keras import ops

from kdloss.data.batches import frame_of
from kdloss.losses import KD_PRESETS, heatmap_loss, kd_loss_terms, point_loss
from kdloss.losses.feature_distillation import FeatureDistillation
from kdloss.models import build_model, feature_maps, observed
from kdloss.training.fused_batchnorm import fused
from kdloss.training.optimizer import optimizer_for

_AVERAGE = 0.99  # momentum of the student's average in the placebo of that name


def compiled_trainer(config, student, teachers, steps, replicas=1, views=None):
    """The compiled `DistillationTrainer` of a `TrainConfig`, with all variables that a run resumes from.

    Args:
        config, student, teachers, replicas, views: see `DistillationTrainer`.
        steps: steps per epoch, for the learning rate schedule.
    """
    trainer = DistillationTrainer(config, student, teachers, replicas, views)
    trainer.compile(optimizer=optimizer_for(config, steps))
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


class DistillationTrainer(keras.Model):
    """Wraps a student so that ``fit`` trains it by the loss of a `TrainConfig`.

    KD-Loss needs two teachers and the labels in one formula. `keras.distillation.Distiller` takes one teacher and hides
    the labels from its losses, so this class computes the loss itself, in `keras.ops` for every back end.

    Args:
        config: a `TrainConfig`.
        student: the network that is trained: images (B, S, S, 3) -> points (B, N, 2).
        teachers: name (``tough``, ``tolerant``, ``feature-teacher``) -> the `kdloss.training.teachers.Teacher`, of one
            network, that runs in each step. Those whose points are stored are left out.
        replicas: number of devices whose losses the back end sums; 1 where it computes one loss for the whole batch.
        views: the `kdloss.data.device_views.DeviceViews` of the batches, if they hold numbers in place of images.
    """

    def __init__(self, config, student, teachers=None, replicas=1, views=None):
        super().__init__(autocast=False)  # numbers of views lose the geometry in 16 bits
        self.config, self.student, self.replicas, self.views = config, student, replicas, views
        networks = {name: teacher.networks[0] for name, teacher in (teachers or {}).items()}
        for network in networks.values():
            network.trainable = False
        self.recuts = {name: teacher.recut for name, teacher in (teachers or {}).items()}
        self.feature_teacher = networks.pop("feature-teacher", None)
        self.teachers, self.average = networks, None
        if config.placebo == "average":
            self.average = build_model(config.arch, student.output_shape[1], student.input_shape[1])
            self.average.set_weights(student.get_weights())
            self.average.trainable = False
        self.feature_distillation = self.observed_teacher = None
        if self.feature_teacher:
            weights = {f"{term}_weight": getattr(config, f"{term}_weight") for term in config.by_features}
            maps = feature_maps(student), feature_maps(self.feature_teacher)
            self.feature_distillation = FeatureDistillation(*maps, **weights)
            self.observed_teacher = observed(self.feature_teacher, maps=True)
        needs = {"logits": config.heatmap_loss != "none", "maps": self.feature_teacher is not None}
        self.observed_student = fused(observed(student, **needs))
        self.term_means = {name: keras.metrics.Mean(name=name) for name in term_names(config)}

    def build(self, input_shape=None):
        self.built = True

    def call(self, images, training=False):
        images = self.views(images) if self.views else ops.cast(images, "float32")
        return self.observed_student(images, training=training) | {"images": images}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of a batch, a scalar.

        Args:
            x: images (B, S, S, 3), or numbers of views; `call` took them.
            y: points (B, N, 2) by name: the ``hard`` landmarks, the ``soft`` ones if a tolerant teacher is trained,
                and the stored points of teachers.
            y_pred: of `call`: the ``images`` that the student saw, its ``points`` and, if the loss needs them, heatmap
                ``logits`` and feature ``maps``.
        """
        images, points = y_pred["images"], dict(y)
        # training=False: teachers run without dropout, and their moving statistics do not change.
        outputs = None
        if self.feature_teacher:
            outputs = self.observed_teacher(self._seen("feature-teacher", images, points), training=False)
        for kind, teacher in self.teachers.items():
            # A teacher of both points and feature maps runs once.
            own = teacher is self.feature_teacher
            found = outputs["points"] if own else teacher(self._seen(kind, images, points), training=False)
            if (frame := points.get(frame_of(self.recuts[kind]))) is not None:
                found = ops.matmul(found, ops.transpose(frame[..., :2], (0, 2, 1))) + frame[:, None, :, 2]
            points[kind] = ops.stop_gradient(found)
        if self.average:
            found = ops.stop_gradient(self._averaged()(images, training=False))
            points |= dict.fromkeys(self.config.taught_by, found)
        terms = point_terms(self.config, points, y_pred)
        if self.feature_teacher:
            terms |= self.feature_distillation(y_pred["maps"], outputs["maps"])
        for name, mean in self.term_means.items():
            mean.update_state(terms[name])
        return sum(terms.values()) / self.replicas

    def _seen(self, name, images, arrays):
        """The images that a teacher sees: the student's, or the same views cut again."""
        recut = arrays.get(self.recuts[name])
        if recut is None:
            return images
        return self.views(recut, name=self.recuts[name]) if self.views else ops.cast(recut, "float32")

    def _averaged(self):
        """The student's moving average, one step further."""
        for average, weight in zip(self.average.weights, self.student.weights, strict=True):
            average.assign(_AVERAGE * average + (1 - _AVERAGE) * weight)
        return self.average


def point_terms(config, points, outputs):
    """The weighted loss terms of points and heatmaps by name. Feature distillation adds its own.

    Args:
        config: a `TrainConfig`.
        points: (B, N, 2) in unit coordinates by name: ``hard`` or ``soft`` landmarks, and the points of the teachers
            ``tough`` and ``tolerant``.
        outputs: the student's ``points`` (B, N, 2) and, with a heatmap loss, ``logits``.
    """
    student, target = outputs["points"], points[_target(config)]
    if config.by_points:
        preset = dataclasses.replace(KD_PRESETS[config.kd_preset], unit=config.unit)
        tough, tolerant = points.get("tough"), points.get("tolerant")
        terms = kd_loss_terms(points["hard"], student, tough, tolerant, preset, config.image_size)
    else:
        terms = {f"{config.loss}_{_target(config)}": point_loss(config.loss)(target, student)}
    if config.heatmap_loss != "none":
        terms["heatmap"] = config.heatmap_weight * heatmap_loss(config.heatmap_loss)(target, outputs["logits"])
    return terms


def term_names(config):
    """Names of all loss terms of a `TrainConfig`, in the order in which they are logged."""
    names = ["main", *config.taught_by] if config.by_points else [f"{config.loss}_{_target(config)}"]
    return [*names, *(["heatmap"] if config.heatmap_loss != "none" else []), *config.by_features]


def _target(config):
    """Tolerant teachers learn soft landmarks, all others the annotated ones."""
    return "soft" if config.kind == "tolerant" else "hard"
