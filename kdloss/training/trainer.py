"""The trained step: a student, frozen teachers, and an objective that sees hard, soft and teachers' points alike."""

import keras
from keras import ops


class DistillationTrainer(keras.Model):
    """Wraps a network so that ``fit`` trains it by an objective over named point sets.

    `keras.distillation.Distiller` takes one teacher and hides the labels from its losses; the KD-Loss needs both
    teachers and the labels in one formula, so the step is written here, in the terms of any back end.

    Args:
        student: the network that is trained: images (B, S, S, 3) -> points (B, N, 2).
        objective: ``objective(targets, predicted) -> dict`` of scalar loss terms, which are summed;
            ``targets`` is the batch's dict of (B, N, 2) point sets, teachers' outputs among them.
        teachers: role -> frozen network, run online on the same views. Cached teachers come with the batch instead.
    """

    def __init__(self, student, objective, teachers=None):
        super().__init__()
        self.student = student
        self.objective = objective
        self.teachers = dict(teachers or {})
        for teacher in self.teachers.values():
            teacher.trainable = False
        self.term_trackers = {}

    def build(self, input_shape=None):
        self.built = True

    def call(self, images, training=False):
        return self.student(ops.cast(images, "float32"), training=training)

    def track_terms(self, names):
        """Names the objective's terms, so that each has a running mean in the logs. Call before ``compile``."""
        self.term_trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        targets = dict(y)
        for role, teacher in self.teachers.items():
            # training=False: neither dropout nor a moving statistic of a teacher changes.
            targets[role] = ops.stop_gradient(teacher(ops.cast(x, "float32"), training=False))
        terms = self.objective(targets, y_pred)
        for name, tracker in self.term_trackers.items():
            tracker.update_state(terms[name])
        return sum(terms.values())
