"""This project's training as `kdloss.training.fit` puts it together, without end, for the training benchmark."""

import time

import keras

from kdloss.augment import augmentation
from kdloss.benchmarking.training_variants import TEACHERS
from kdloss.geometry import BoxPolicy
from kdloss.models import build_model
from kdloss.pipeline import ViewBatches, training_data
from kdloss.prediction import predict_batch
from kdloss.prepared import PreparedDataset
from kdloss.soft_landmarks import mean_shape
from kdloss.teacher_cache import cached_teacher
from kdloss.training.assembly import load_teachers
from kdloss.training.checkpoint import save_model
from kdloss.training.config import TrainConfig
from kdloss.training.divergence import LossWatch
from kdloss.training.objectives import objective_for
from kdloss.training.optimizer import optimizer_for
from kdloss.training.trainer import DistillationTrainer

STEPS = 10**6  # more than anybody waits for


def config_of(work, dataset, cached, precision="float32"):
    """The `TrainConfig` of the student of a `Work`."""
    return TrainConfig(
        kind="student",
        dataset=dataset,
        arch=work.student,
        method="kd-loss",
        **{role: str(work.checkpoint(role)) for role in TEACHERS},
        teacher_views=work.teacher_views if cached else 0,
        image_size=work.image_size,
        batch_size=work.batch_size,
        augment="paper",
        precision=precision,
    )


def write_teachers(work):
    """Writes both teachers, in the same random weights; returns the `ViewBatches` of what they are for."""
    dataset = PreparedDataset(work.data).dataset
    config = config_of(work, dataset, cached=False)
    batches = batches_of(work, config)
    scheme = batches.prepared.scheme
    card = {"arch": work.teacher, "dataset": dataset, "scheme": scheme.to_json()}
    card |= {"image_size": work.image_size, "box": config.box}
    teacher = build_model(work.teacher, scheme.num_points, work.image_size)
    for role in TEACHERS:
        save_model(work.checkpoint(role), teacher, card)
    return batches


def batches_of(work, config):
    """The `ViewBatches` of its faces."""
    prepared = PreparedDataset(work.data)
    return ViewBatches(
        prepared,
        prepared.indices("train")[: work.faces],
        size=work.image_size,
        batch_size=work.batch_size,
        policy=BoxPolicy.parse(config.box),
        augment=augmentation(config.augment),
        rounds=config.teacher_views or None,
    )


def train(work, variant, started, after_step):
    """Trains without end.

    Args:
        work: the `Work`.
        variant: the `Variant`.
        started: called once networks are there and the first step begins, with a dict for JSON of what storing the
            teachers' points took: ``views`` and ``seconds``; or None.
        after_step: called after a call of the compiled program, with the number of steps done.
    """
    keras.utils.set_random_seed(0)
    dataset = PreparedDataset(work.data).dataset
    config = config_of(work, dataset, variant.way == "cached", variant.precision)
    keras.config.set_dtype_policy(config.precision)
    batches = batches_of(work, config)
    mean = mean_shape(batches.prepared, BoxPolicy.parse(config.box), batches.rows)
    student = build_model(work.student, batches.prepared.scheme.num_points, work.image_size, mean_shape=mean)
    if variant.channels_first:
        student = channels_first(student)
    teachers, stored = {}, None
    if config.teacher_views:
        stored = _store(work, config, batches)
    else:
        teachers = load_teachers(config, batches.prepared)
    objective, terms = objective_for(config)
    trainer = DistillationTrainer(student, objective, teachers)
    trainer.track_terms(terms)
    trainer.compile(optimizer=optimizer_for(config, batches.steps), **variant.compiled)
    trainer.optimizer.build(trainer.trainable_variables)
    started(stored)
    follower = _Follower(LossWatch(work.folder), after_step)
    trainer.fit(training_data(batches, 0, STEPS), steps_per_epoch=STEPS, callbacks=[follower], verbose=0, shuffle=False)


def channels_first(network):
    """The same network in random weights, whose maps are (B, C, H, W) from its first convolution on."""
    first = next(layer for layer in network.layers if hasattr(layer, "data_format"))

    def clone(layer):
        config = layer.get_config()
        if hasattr(layer, "data_format"):
            config["data_format"] = "channels_first"
        if isinstance(layer, keras.layers.BatchNormalization):
            config["axis"] = 1
        return type(layer).from_config(config)

    def call(layer, inputs, *args, **kwargs):
        if layer.name == first.name:
            inputs = keras.layers.Permute((3, 1, 2))(inputs)
        return layer(inputs, *args, **kwargs)

    return keras.models.clone_model(network, clone_function=clone, call_function=call)


def _store(work, config, batches):
    """Gives the batches the teachers' stored points; returns what that took, or None where another process did it."""
    folder = work.folder / f"teacher-views-{keras.backend.backend()}"
    teachers, taken = dict.fromkeys(TEACHERS), None
    if not folder.exists():
        teachers = load_teachers(config, batches.prepared)
        images, _ = batches.batch(0, 0)
        for teacher in teachers.values():
            predict_batch(teacher, images, batches.batch_size)  # compiles it
    began = time.perf_counter()
    batches.stored = {
        role: cached_teacher(teacher, work.checkpoint(role), batches, folder) for role, teacher in teachers.items()
    }
    if all(teachers.values()):
        taken = {"views": len(batches.rows) * batches.rounds, "seconds": time.perf_counter() - began}
    return taken


class _Follower(keras.callbacks.Callback):
    """Looks at every loss, as `kdloss.training.recorder.RunRecorder` does."""

    def __init__(self, watch, after_step):
        super().__init__()
        self.watch, self.after_step, self.done = watch, after_step, 0

    def on_train_batch_end(self, batch, logs=None):
        self.watch.check(0, batch, float(logs["loss"]))
        steps, self.done = batch + 1 - self.done, batch + 1
        self.after_step(steps)
