"""One training run from top to bottom: data, network, teachers, losses, step, validation, checkpoint."""

import contextlib
import dataclasses

import keras
import numpy as np

from asm import ShapeModel
from kdloss.data.augmentation import augmentation
from kdloss.data.batches import MixedBatches, ViewBatches, training_data
from kdloss.data.device_views import placed
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, deferred_interrupt
from kdloss.evaluation.metrics import available_normalisers, image_errors, nme
from kdloss.inference.box_calibration import learnt_calibrations
from kdloss.inference.prediction import predict_dataset
from kdloss.machine import machine
from kdloss.models import build_model
from kdloss.training.callbacks import RunRecorder, state_variables
from kdloss.training.checks import check_settings
from kdloss.training.display import Display
from kdloss.training.distribution import OneDevice
from kdloss.training.faces import labelled_rows, training_rows, unlabelled_faces
from kdloss.training.freezing import freeze
from kdloss.training.runs import SHAPE, check_run_folder, finished, mark_finished, open_run_folder
from kdloss.training.soft_landmarks import fit_shape_model, mean_shape, soft_points, unusual_faces
from kdloss.training.state import Deadline, OutOfTime, Progress, load_state
from kdloss.training.teachers import load_teachers, pseudo_labels, recuts_of, shuffled_errors, stored_points
from kdloss.training.trainer import compiled_trainer


def train(config, prepared, folder, *, resume=False, shape=None, verbose=True, deadline=None, distribution=None):
    """Trains one network, or continues the run of the same settings in ``folder``. A finished run is left as it is.

    Args:
        config: a `TrainConfig`.
        prepared: the `PreparedDataset` of ``config.dataset``.
        folder: the run folder (`pathlib.Path`): config.json, faces.json, environment.json, metrics.jsonl, history.csv,
            tensorboard/, last/ (to resume from) and best.keras.
        resume: whether the user asked to continue; only the error about a run of other settings depends on it.
        shape: an `asm.ShapeModel` for soft landmarks; fitted on the training faces by default.
        verbose: whether to show how far the run is: a bar on a terminal, and a line for each epoch.
        deadline: a `Deadline`; an epoch starts only if it is likely to end in time.
        distribution: from `kdloss.training.distribution.distributed`; one device by default.

    Returns:
        The run's results: ``val_nme`` in percent (None without validation), ``epochs``, ``seconds``, numbers of faces.

    Raises:
        ConfigError, CheckpointError, DataError: settings or files that do not fit.
        OutOfTime: no time is left for another epoch. The state is saved, and the same call continues.
        KeyboardInterrupt, Terminated: after a signal. The current step is completed and saved; the same call continues.
    """
    distribution, deadline = distribution or OneDevice(), deadline or Deadline()
    for faces in (config.batch_size, config.unlabelled_batch):
        distribution.check_batch_size(faces)
    if config.placebo == "average" and distribution.devices > 1:
        raise ConfigError("--placebo average: trains on one device: leave --distribute out")
    if config.views == "device" and distribution.devices > 1:
        raise ConfigError("--views device: draws for one device: leave --distribute out, or give --views host")
    distribution.require_same(_identity(config, prepared))
    check_settings(config)
    if distribution.is_first:
        check_run_folder(folder, config, resume, prepared)
    if results := distribution.share(finished(folder, config.epochs)):
        return results
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    with distribution.scope():
        return _train(config, prepared, folder, shape, verbose, deadline, distribution)


def _train(config, prepared, folder, shape, verbose, deadline, distribution):
    # Data: augmented views of the training faces; the landmarks move with the pixels.
    policy, cache = BoxPolicy.parse(config.box), folder.parent / "teacher-views"
    train_rows, card = labelled_rows(prepared, config), _card(config, prepared)
    val_rows = prepared.indices("val") if config.keep == "best" else ()
    validate = _validation(config, prepared, policy, val_rows) if len(val_rows) else None
    landmarks = {"hard": prepared.points}
    if config.kind == "tolerant":
        if shape is None and (folder / SHAPE).is_file():
            shape = ShapeModel.load(folder / SHAPE)  # of the run that goes on
        shape = shape or fit_shape_model(prepared, policy, config.variance, train_rows)
        landmarks["soft"] = soft_points(prepared, shape, policy)
    often = [unusual_faces(prepared, policy, train_rows)] * (config.hard_draws - 1) if config.hard_draws > 1 else []
    labelled = ViewBatches(
        prepared,
        np.concatenate([train_rows, *often] * config.passes),
        size=config.image_size,
        batch_size=max(1, config.batch_size - config.unlabelled_batch),
        policy=policy,
        augment=augmentation(config.augment),
        targets=landmarks,
        seed=config.seed,
        rounds=config.teacher_views or None,
        part=distribution.part,
    )
    # An epoch has as many steps as with the labels of all faces, so that runs with fewer labels are as long.
    steps = max(1, config.passes * len(training_rows(prepared, config)) // config.batch_size)

    # Network: it starts at the mean face. Weights that do not fit are found here, before the run folder is made.
    count, mean_face = prepared.scheme.num_points, mean_shape(prepared, policy, train_rows)
    student = build_model(config.arch, count, config.image_size, weights=config.weights, mean_shape=mean_face)
    freeze(student, config.frozen)

    # Teachers: frozen networks that see the student's views. They run in every step, unless their points are stored.
    teachers, unlabelled = load_teachers(config, prepared), unlabelled_faces(config, prepared)
    with open_run_folder(folder, config, prepared, shape) if distribution.is_first else contextlib.nullcontext():
        sources = [labelled] if config.unlabelled_batch < config.batch_size else []
        if unlabelled:
            # On faces without labels the teachers' points stand for the truth.
            with distribution.first_alone():
                points, rows = pseudo_labels(config, prepared.scheme, *unlabelled, cache)
            without = {"prepared": unlabelled[0], "rows": rows, "targets": {"hard": points}, "stored": {}}
            without |= {"scheme": prepared.scheme, "batch_size": config.unlabelled_batch}
            sources.append(dataclasses.replace(labelled, **without))
        if config.teacher_views:
            with distribution.first_alone():
                for kind in config.teachers:
                    teacher = teachers.pop(kind)
                    for source in sources:
                        rounds = stored_points(teacher, source, cache, deadline, labelled=source is labelled)
                        shuffled = config.placebo == "shuffled"
                        source.stored[kind] = shuffled_errors(rounds, source, config.seed) if shuffled else rounds

        distribution.synchronise(student)
        recuts = recuts_of(teachers, labelled)
        batches = MixedBatches([dataclasses.replace(one, recuts=recuts) for one in sources], steps)
        batches, views = placed(batches, config.views, distribution.devices)
        # Losses and step: Keras calls `DistillationTrainer.compute_loss` for each batch.
        trainer = compiled_trainer(config, student, teachers, steps, distribution.replicas, views)
        with distribution.shared_file(folder / "last" / "state.npz") as state:
            progress = load_state(state, state_variables(trainer)) if state else Progress()
        with deferred_interrupt() as interruption:
            # Validation and checkpoint: at the end of each epoch.
            recorder = RunRecorder(
                folder,
                card,
                validate,
                progress,
                ema=config.ema > 0,
                last_epoch=config.epochs,
                deadline=deadline,
                interruption=interruption,
                faces_of=batches.faces_of,
                distribution=distribution,
            )
            _fit(trainer, batches, recorder, verbose)
        if recorder.out_of_time and progress.epoch < config.epochs:
            raise OutOfTime(f"{folder}: {progress.epoch} of {config.epochs} epochs are done")
        results = {
            "val_nme": progress.best if validate else None,
            "epochs": progress.epoch,
            "seconds": round(sum(row["seconds"] for row in progress.rows), 1),
            "train_faces": len(train_rows),
            "unlabelled_faces": len(rows) if unlabelled else 0,
            "val_faces": len(val_rows),
            "synthetic": prepared.synthetic,
        }
        if distribution.is_first:
            mark_finished(folder, results)
    return results


def _identity(config, prepared):
    """The settings, faces and versions that must be the same in all processes of a run."""
    versions = {name: found for name, found in machine()["packages"].items() if name in ("keras", "jax")}
    return dataclasses.asdict(config) | {"prepared faces": prepared.manifest["content"]} | versions


def _validation(config, prepared, policy, rows):
    """Returns ``validate(network)``, which gives the NME in percent on the faces ``rows``."""
    truth = prepared.source_points_of(rows)
    normaliser = available_normalisers(prepared.scheme, truth)[0]

    def validate(network):
        predicted = predict_dataset(network, prepared, rows, policy, config.batch_size)
        return nme(image_errors(predicted, truth, prepared.scheme, normaliser))

    return validate


def _card(config, prepared):
    """The card of the checkpoint, see `kdloss.models.card`."""
    return {
        "dataset": config.dataset,
        "scheme": prepared.scheme.to_json(),
        "arch": config.arch,
        "kind": config.kind,
        "method": config.method,
        "image_size": config.image_size,
        "box": config.box,
        "synthetic": prepared.synthetic,
        "train_content": prepared.manifest["content"],
        "seed": config.seed,
        **learnt_calibrations(prepared),
        **({"fold": [config.fold, config.folds]} if config.fold else {}),
    }


def _fit(trainer, batches, recorder, verbose):
    """Trains up to the recorder's last epoch. The rest of an interrupted epoch takes a call of ``fit`` of its own."""
    progress, end = recorder.progress, recorder.last_epoch
    with contextlib.closing(recorder), contextlib.ExitStack() as shown:
        callbacks = [recorder]
        if verbose:
            callbacks.append(shown.enter_context(contextlib.closing(Display(progress, end, batches.steps))))
        while progress.epoch < end and not recorder.out_of_time:
            stop = progress.epoch + 1 if progress.step else end
            trainer.fit(
                training_data(batches, progress.epoch * batches.steps + progress.step, stop * batches.steps),
                initial_epoch=progress.epoch,
                epochs=end,
                steps_per_epoch=batches.steps - progress.step,
                callbacks=callbacks,
                verbose=0,
                shuffle=False,
            )
