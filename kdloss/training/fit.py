"""One training run from top to bottom: data, network, teachers, losses, step, validation, checkpoint."""

import contextlib
import dataclasses
import sys

import keras

from kdloss.data.augmentation import augmentation
from kdloss.data.batches import ViewBatches, training_data
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import deferred_interrupt
from kdloss.evaluation.metrics import available_normalisers, image_errors, nme
from kdloss.inference.prediction import predict_dataset
from kdloss.machine import machine
from kdloss.models import build_model
from kdloss.models.checkpoint import checkpoint_path, load_model
from kdloss.training.callbacks import RunRecorder, state_variables
from kdloss.training.checks import check_settings, check_teachers
from kdloss.training.distribution import OneDevice
from kdloss.training.runs import check_run_folder, finished, mark_finished, open_run_folder
from kdloss.training.soft_landmarks import fit_shape_model, mean_shape, soft_points
from kdloss.training.stages import freeze, stages_of
from kdloss.training.state import Deadline, OutOfTime, Progress, load_state
from kdloss.training.teacher_cache import cached_teacher
from kdloss.training.trainer import compiled_trainer


def train(config, prepared, folder, *, resume=False, shape=None, verbose=None, deadline=None, distribution=None):
    """Trains one network, or continues the run of the same settings in ``folder``. A finished run is left as it is.

    Args:
        config: a `TrainConfig`.
        prepared: the `PreparedDataset` of ``config.dataset``.
        folder: the run folder (`pathlib.Path`): config.json, environment.json, metrics.jsonl, history.csv,
            tensorboard/, last/ (to resume from) and best.keras.
        resume: whether the user asked to continue; only the error about a run of other settings depends on it.
        shape: an `asm.ShapeModel` for soft landmarks; fitted on the training faces by default.
        verbose: Keras' progress: 0 silent, 1 bar, 2 one line per epoch; None shows a bar on a terminal, else lines.
        deadline: a `Deadline`; an epoch starts only if it is likely to end in time.
        distribution: from `kdloss.training.distribution.distributed`; one device by default.

    Returns:
        The run's results: ``val_nme`` in percent, ``epochs``, ``seconds``, numbers of faces.

    Raises:
        ConfigError, CheckpointError, DataError: settings or files that do not fit.
        OutOfTime: no time is left for another epoch. The state is saved, and the same call continues.
        KeyboardInterrupt, Terminated: after a signal. The current step is completed and saved; the same call continues.
    """
    distribution, deadline = distribution or OneDevice(), deadline or Deadline()
    distribution.check_batch_size(config.batch_size)
    distribution.require_same(_identity(config, prepared))
    check_settings(config)
    if distribution.is_first:
        check_run_folder(folder, config, resume)
    if results := distribution.share(finished(folder)):
        return results
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    with distribution.scope():
        return _train(config, prepared, folder, shape, verbose, deadline, distribution)


def _train(config, prepared, folder, shape, verbose, deadline, distribution):
    # Data: augmented views of the training faces; the landmarks move with the pixels.
    policy = BoxPolicy.parse(config.box)
    train_rows, val_rows = prepared.indices("train"), prepared.indices("val")
    validate, card = _validation(config, prepared, policy, val_rows), _card(config, prepared)
    landmarks = {"hard": prepared.points}
    if config.kind == "tolerant":
        shape = shape or fit_shape_model(prepared, policy, config.variance)
        landmarks["soft"] = soft_points(prepared, shape, policy)

    def batches_at(side, stored):
        return ViewBatches(
            prepared,
            train_rows,
            size=side,
            batch_size=config.batch_size,
            policy=policy,
            augment=augmentation(config.augment),
            targets=landmarks,
            stored=stored,
            seed=config.seed,
            rounds=config.teacher_views or None,
            part=distribution.part,
        )

    batches = batches_at(config.image_size, {})

    # Network: it starts at the mean face. Weights that do not fit are found here, before the run folder is made.
    stages, mean_face = stages_of(config), mean_shape(prepared, policy, train_rows)

    def network_at(side, weights="none"):
        return build_model(config.arch, prepared.scheme.num_points, side, weights=weights, mean_shape=mean_face)

    student = network_at(stages[0].side, config.weights)

    # Teachers: frozen networks that see the student's views. They run in every step, unless their points are stored.
    teachers, stored = load_teachers(config, prepared), {}
    with open_run_folder(folder, config, shape) if distribution.is_first else contextlib.nullcontext():
        if config.teacher_views:
            cache = folder.parent / "teacher-views"
            with distribution.first_alone():
                for kind, path in config.teachers.items():
                    stored[kind] = cached_teacher(teachers.pop(kind), checkpoint_path(path), batches, cache, deadline)

        # Training: one stage for each image side. Each stage resumes from the state that the previous one saved.
        for stage in stages:
            if stage.first:
                student = network_at(stage.side)  # `_load_progress` gives it the weights of the previous stage
            freeze(student, config.frozen)
            distribution.synchronise(student)
            batches = batches_at(stage.side, stored)
            # Losses and step: Keras calls `DistillationTrainer.compute_loss` for each batch.
            trainer = compiled_trainer(config, student, teachers, batches.steps, distribution.replicas)
            progress = _load_progress(folder, trainer, stage, distribution)
            if progress.epoch >= stage.end:
                continue
            with deferred_interrupt() as interruption:
                # Validation and checkpoint: at the end of each epoch.
                recorder = RunRecorder(
                    folder,
                    card | {"image_size": stage.side},
                    validate,
                    progress,
                    ema=config.ema > 0,
                    last_epoch=stage.end,
                    deadline=deadline,
                    interruption=interruption,
                    faces_of=batches.faces_of,
                    distribution=distribution,
                )
                _fit(trainer, batches, recorder, config.epochs, verbose)
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
            mark_finished(folder, results)
    return results


def load_teachers(config, prepared):
    """The teachers of a `TrainConfig` by name: ``tough``, ``tolerant``, ``feature-teacher``.

    A file that serves as two teachers is loaded once.

    Raises:
        CheckpointError: a teacher was trained on another data set, size or box.
    """
    check_teachers(config, prepared.scheme)
    models = {path: load_model(path)[0] for path in dict.fromkeys(config.teacher_paths.values())}
    return {name: models[path] for name, path in config.teacher_paths.items()}


def _identity(config, prepared):
    """The settings, faces and versions that must be the same in all processes of a run."""
    versions = {name: found for name, found in machine()["packages"].items() if name in ("keras", "jax")}
    return dataclasses.asdict(config) | {"prepared faces": prepared.manifest["content"]} | versions


def _load_progress(folder, trainer, stage, distribution):
    """Restores the trainer if the run folder has a saved state; returns the `Progress`."""
    with distribution.shared_file(folder / "last" / "state.npz") as state:
        progress = load_state(state, state_variables(trainer)) if state else Progress()
    if progress.epoch == stage.first and not progress.step:
        progress.best = float("inf")  # scores at the previous image side do not compare with those of this stage
    return progress


def _validation(config, prepared, policy, rows):
    """Returns ``validate(network)``, which gives the NME in percent on the faces ``rows``."""
    truth = prepared.source_points_of(rows)

    def validate(network):
        predicted = predict_dataset(network, prepared, rows, policy, config.batch_size)
        return nme(image_errors(predicted, truth, prepared.scheme, available_normalisers(prepared.scheme)[0]))

    return validate


def _card(config, prepared):
    """The card of the checkpoint but for its image size, see `kdloss.models.card`."""
    return {
        "dataset": config.dataset,
        "scheme": prepared.scheme.to_json(),
        "arch": config.arch,
        "kind": config.kind,
        "method": config.method,
        "box": config.box,
        "synthetic": prepared.synthetic,
        "train_content": prepared.manifest["content"],
        "seed": config.seed,
    }


def _fit(trainer, batches, recorder, epochs, verbose):
    """Trains up to the recorder's last epoch. The rest of an interrupted epoch takes a call of ``fit`` of its own."""
    progress, end = recorder.progress, recorder.last_epoch
    with contextlib.closing(recorder):
        while progress.epoch < end and not recorder.out_of_time:
            stop = progress.epoch + 1 if progress.step else end
            trainer.fit(
                training_data(batches, progress.epoch * batches.steps + progress.step, stop * batches.steps),
                initial_epoch=progress.epoch,
                epochs=epochs,  # of the whole run, for the progress bar; the recorder stops earlier
                steps_per_epoch=batches.steps - progress.step,
                callbacks=[recorder],
                verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
                shuffle=False,
            )
