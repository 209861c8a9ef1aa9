"""One training run, straight down: data, network, teachers, objective, fit, best checkpoint."""

import contextlib
import dataclasses
import functools
import sys

import keras

from kdloss.data.augmentation import augmentation
from kdloss.data.batches import ViewBatches, training_data
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import deferred_interrupt
from kdloss.evaluation.metrics import available_normalisers, image_errors, nme
from kdloss.files import held, replacing
from kdloss.inference.prediction import predict_dataset
from kdloss.losses.feature_distillation import FeatureDistillation
from kdloss.machine import machine
from kdloss.models import build_model, feature_maps
from kdloss.models.checkpoint import checkpoint_path, load_model
from kdloss.training.callbacks import RunFollower, RunRecorder, state_variables
from kdloss.training.checks import check_settings, check_teachers
from kdloss.training.distribution import OneDevice
from kdloss.training.optimizer import optimizer_for
from kdloss.training.runs import check_run_folder, finish, finished, start_run_folder
from kdloss.training.soft_landmarks import fit_shape_model, mean_shape, soft_points
from kdloss.training.stages import freeze, stages_of
from kdloss.training.state import OutOfTime, Progress, load_state
from kdloss.training.teacher_cache import cached_teacher
from kdloss.training.trainer import DistillationTrainer, objective_for


def train(
    config,
    prepared,
    folder,
    *,
    resume=False,
    shape=None,
    verbose=None,
    deadline=None,
    distribution=None,
    callbacks=(),
):
    """Trains one network.

    Args:
        config: a `TrainConfig`.
        prepared: the `PreparedDataset` of ``config.dataset``.
        folder: the run folder (`pathlib.Path`): config.json, environment.json, metrics.jsonl, history.csv,
            tensorboard/, last/ (to resume from) and best.keras.
        resume: says that the run in ``folder`` is meant. One of the same settings is gone on with in any case, and
            left as it is where it is finished.
        shape: a `asm.ShapeModel` for soft landmarks; fitted on the training faces by default.
        verbose: Keras' progress: 0 silent, 1 bar, 2 a line an epoch; None is a bar on a terminal, else lines.
        deadline: a `Deadline`; no epoch is begun that would end after it.
        distribution: of `kdloss.training.distribution.distribution`; one device by default.
        callbacks: Keras callbacks that follow the run too. At the end of an epoch their ``logs`` hold ``val_nme``, and
            the epoch is saved.

    Returns:
        The run's results: ``val_nme`` in percent, ``epochs``, ``seconds``.

    Raises:
        ConfigError, CheckpointError, DataError: what a user can mend.
        OutOfTime: the deadline came first; the same call goes on.
        KeyboardInterrupt, Terminated: a signal asked for it; the step is done and saved, and the same call goes on.
    """
    distribution = distribution or OneDevice()
    distribution.check(config.batch_size)
    distribution.require_same(_facts(config, prepared))
    check_settings(config)
    if distribution.is_first:
        check_run_folder(folder, config, resume)
    if results := distribution.share(finished(folder)):
        return results
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    with distribution.scope():
        return _train(config, prepared, folder, shape, verbose, deadline, distribution, callbacks)


def _train(config, prepared, folder, shape, verbose, deadline, distribution, callbacks):
    policy = BoxPolicy.parse(config.box)
    train_rows, val_rows = prepared.indices("train"), prepared.indices("val")
    targets = {"hard": prepared.points}
    if config.kind == "tolerant":
        shape = shape or fit_shape_model(prepared, policy, config.variance)
        targets["soft"] = soft_points(prepared, shape, policy)
    batches_at = functools.partial(
        ViewBatches,
        prepared,
        train_rows,
        batch_size=config.batch_size,
        policy=policy,
        augment=augmentation(config.augment),
        targets=targets,
        seed=config.seed,
        rounds=config.teacher_views or None,
        part=distribution.part,
    )
    batches, stages = batches_at(size=config.image_size), stages_of(config)
    start = mean_shape(prepared, policy, train_rows)
    network_at = functools.partial(build_model, config.arch, prepared.scheme.num_points, mean_shape=start)

    student = network_at(stages[0].side, weights=config.weights)
    teachers = load_teachers(config, prepared)
    features = {"replicas": distribution.replicas}
    if feature_teacher := teachers.pop("feature-teacher", None):
        features["feature_teacher"] = feature_teacher
        features["feature_distillation"] = feature_distillation(config, student, feature_teacher)
    with _run_folder(folder, config, shape) if distribution.is_first else contextlib.nullcontext():
        stored = {}
        if config.teacher_views:
            with distribution.first_alone():
                stored = _stored_points(config, teachers, batches, folder.parent / "teacher-views", deadline)
            teachers = {}
        for stage in stages:
            if stage.first:
                student = network_at(stage.side)
            freeze(student, config.frozen)
            distribution.synchronise(student)
            batches = batches_at(size=stage.side, stored=stored)
            trainer = compiled_trainer(config, student, teachers, batches.steps, features)
            progress = Progress()
            # All of a stage goes on from what the one before it saved, as a run that was cut off does.
            with distribution.shared_file(folder / "last" / "state.npz") as state:
                if state:
                    progress = load_state(state, state_variables(trainer))
            if progress.epoch >= stage.end:
                continue
            if progress.epoch == stage.first and not progress.step:
                progress.best = float("inf")  # networks of another side are not compared
            with deferred_interrupt() as interruption:
                recorder = (RunRecorder if distribution.is_first else RunFollower)(
                    folder,
                    _card(config, prepared, stage.side),
                    _validation(config, prepared, policy, val_rows),
                    ema=config.ema > 0,
                    progress=progress,
                    deadline=deadline,
                    interruption=interruption,
                    faces_of=batches.faces_of,
                    distribution=distribution,
                )
                _fit(trainer, batches, recorder, callbacks, stage.end, config.epochs, verbose)
            if recorder.out_of_time and progress.epoch < config.epochs:
                raise OutOfTime(f"{folder}: {progress.epoch} of {config.epochs} epochs are done")
        results = {
            "val_nme": progress.best,
            "epochs": progress.epoch,
            "seconds": round(sum(row["seconds"] for row in progress.rows), 1),
            "train_faces": len(train_rows),
            "val_faces": len(val_rows),
            "synthetic": prepared.synthetic,
        }
        if distribution.is_first:
            finish(folder, results)
    return results


@contextlib.contextmanager
def _run_folder(folder, config, shape):
    """Held while the run lasts, with what is written before it."""
    start_run_folder(folder, config)
    with held(folder):
        if shape is not None:
            with replacing(folder / "shape.npz") as work:
                shape.save(work)
        yield


def _facts(config, prepared):
    """What must be the same in all processes of a run."""
    versions = {name: found for name, found in machine()["packages"].items() if name in ("keras", "jax")}
    return dataclasses.asdict(config) | {"prepared faces": prepared.manifest["content"]} | versions


def _stored_points(config, teachers, batches, folder, deadline):
    """Role -> the teacher's points on each round of the views, whose geometry is the same at every side."""
    return {
        role: cached_teacher(teacher, checkpoint_path(config.teachers[role]), batches, folder, deadline)
        for role, teacher in teachers.items()
    }


def _fit(trainer, batches, recorder, callbacks, end, epochs, verbose):
    """Trains the epochs up to ``end``, of all. If the first was cut off, its remaining steps are a fit of their own."""
    progress = recorder.progress
    with contextlib.closing(recorder):
        while progress.epoch < end and not recorder.out_of_time:
            last = progress.epoch + 1 if progress.step else end
            trainer.fit(
                training_data(batches, progress.epoch * batches.steps + progress.step, last * batches.steps),
                initial_epoch=progress.epoch,
                epochs=epochs,
                steps_per_epoch=batches.steps - progress.step,
                callbacks=[recorder, *callbacks, _StopAfter(end)],
                verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
                shuffle=False,
            )


class _StopAfter(keras.callbacks.Callback):
    """Ends a stage, while the progress bar counts the epochs of all."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.end:
            self.model.stop_training = True


def _validation(config, prepared, policy, rows):
    """``validate(network)``: NME in percent on the faces ``rows``."""
    truth = prepared.source_points_of(rows)
    normaliser = available_normalisers(prepared.scheme)[0]

    def validate(network):
        predicted = predict_dataset(network, prepared, rows, policy, config.batch_size)
        return nme(image_errors(predicted, truth, prepared.scheme, normaliser))

    return validate


def _card(config, prepared, side):
    return {
        "dataset": config.dataset,
        "scheme": prepared.scheme.to_json(),
        "arch": config.arch,
        "kind": config.kind,
        "method": config.method,
        "image_size": side,
        "box": config.box,
        "synthetic": prepared.synthetic,
        "train_content": prepared.manifest["content"],
        "seed": config.seed,
    }


def compiled_trainer(config, student, teachers, steps, features):
    """The `DistillationTrainer` of a `TrainConfig`, compiled, with all variables that a run resumes from.

    Args:
        config: a `TrainConfig`.
        student: the network.
        teachers: role -> network that runs online.
        steps: of an epoch.
        features: further arguments of `DistillationTrainer`.
    """
    objective, terms = objective_for(config)
    trainer = DistillationTrainer(student, objective, teachers, logits=config.heatmap_loss != "none", **features)
    trainer.track_terms(terms)
    trainer.compile(optimizer=optimizer_for(config, steps))
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def load_teachers(config, prepared):
    """Role -> frozen network, the teacher of feature maps as ``feature-teacher``.

    A file that serves in two roles is loaded once.

    Raises:
        CheckpointError: not a teacher of this data set, size and box.
    """
    check_teachers(config, prepared.scheme)
    models = {path: load_model(path)[0] for path in dict.fromkeys(config.teacher_paths.values())}
    return {role: models[path] for role, path in config.teacher_paths.items()}


def feature_distillation(config, student, teacher):
    """The `FeatureDistillation` between two networks that a `TrainConfig` asks for."""
    weights = {f"{term}_weight": getattr(config, f"{term}_weight") for term in config.by_features}
    return FeatureDistillation(feature_maps(student), feature_maps(teacher), **weights)
