"""One training run, straight down: data, network, teachers, objective, fit, best checkpoint."""

import contextlib
import dataclasses
import sys

import keras

from asm.locks import held
from kdloss.augment import augmentation
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation.metrics import available_normalisers, image_errors, nme
from kdloss.geometry import BoxPolicy
from kdloss.interruption import deferred_interrupt
from kdloss.models import build_model, feature_maps, predicts_heatmaps
from kdloss.pipeline import ViewBatches, training_data
from kdloss.prediction import predict_dataset
from kdloss.runs import finish, finished, machine
from kdloss.soft_landmarks import fit_shape_model, mean_shape, soft_points
from kdloss.teacher_cache import cached_teacher
from kdloss.training.checkpoint import checkpoint_path, load_model, load_state, require_scheme
from kdloss.training.deadline import OutOfTime
from kdloss.training.distribution import OneDevice
from kdloss.training.feature_distillation import FeatureDistillation
from kdloss.training.objectives import objective_for
from kdloss.training.optimizer import optimizer_for
from kdloss.training.progress import Progress
from kdloss.training.recorder import RunFollower, RunRecorder, state_variables
from kdloss.training.run_folder import check_run_folder, start_run_folder
from kdloss.training.trainer import DistillationTrainer


def train(config, prepared, folder, *, resume=False, shape=None, verbose=None, deadline=None, distribution=None):
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
    if distribution.is_first:
        check_run_folder(folder, config, resume)
    if results := distribution.share(finished(folder)):
        return results
    if config.heatmap_loss != "none" and not predicts_heatmaps(config.arch):
        raise ConfigError(f"--heatmap-loss {config.heatmap_loss}: {config.arch} regresses points: leave it out")
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    with distribution.scope():
        return _train(config, prepared, folder, shape, verbose, deadline, distribution)


def _train(config, prepared, folder, shape, verbose, deadline, distribution):
    policy = BoxPolicy.parse(config.box)
    train_rows, val_rows = prepared.indices("train"), prepared.indices("val")
    targets = {"hard": prepared.points}
    if config.kind == "tolerant":
        shape = shape or fit_shape_model(prepared, policy, config.variance)
        targets["soft"] = soft_points(prepared, shape, policy)
    views = {
        "size": config.image_size,
        "batch_size": config.batch_size,
        "policy": policy,
        "augment": augmentation(config.augment),
        "targets": targets,
        "seed": config.seed,
        "rounds": config.teacher_views or None,
        "part": distribution.part,
    }
    batches = ViewBatches(prepared, train_rows, **views)

    student = build_model(
        config.arch,
        prepared.scheme.num_points,
        config.image_size,
        weights=config.weights,
        mean_shape=mean_shape(prepared, policy, train_rows),
    )
    distribution.synchronise(student)
    teachers = _load_teachers(config, prepared)
    features = {}
    if feature_teacher := teachers.pop("feature-teacher", None):
        features["feature_teacher"] = feature_teacher
        features["feature_distillation"] = _feature_distillation(config, student, feature_teacher)
    with _run_folder(folder, config, shape) if distribution.is_first else contextlib.nullcontext():
        online = teachers
        if config.teacher_views:
            online = {}
            with distribution.first_alone():
                batches.stored = {
                    role: cached_teacher(
                        model,
                        checkpoint_path(config.teachers[role]),
                        batches,
                        folder.parent / "teacher-views",
                        deadline,
                    )
                    for role, model in teachers.items()
                }
        objective, terms = objective_for(config)
        features["replicas"] = distribution.replicas
        trainer = DistillationTrainer(student, objective, online, logits=config.heatmap_loss != "none", **features)
        trainer.track_terms(terms)
        trainer.compile(optimizer=optimizer_for(config, batches.steps), jit_compile=_jit())
        trainer.optimizer.build(trainer.trainable_variables)

        progress = Progress()
        if state := distribution.shared_file(folder / "last" / "state.npz"):
            progress = load_state(state, state_variables(trainer))
        with deferred_interrupt() as interruption:
            recorder = (RunRecorder if distribution.is_first else RunFollower)(
                folder,
                _card(config, prepared),
                _validation(config, prepared, policy, val_rows),
                ema=config.ema > 0,
                progress=progress,
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
            finish(folder, results)
    return results


@contextlib.contextmanager
def _run_folder(folder, config, shape):
    """Held while the run lasts, with what is written before it."""
    start_run_folder(folder, config)
    with held(folder):
        if shape is not None:
            shape.save(folder / "shape.npz")
        yield


def _facts(config, prepared):
    """What must be the same in all processes of a run."""
    versions = {name: found for name, found in machine()["packages"].items() if name in ("keras", "jax")}
    return dataclasses.asdict(config) | {"prepared faces": prepared.manifest["content"]} | versions


def _fit(trainer, batches, recorder, epochs, verbose):
    """Trains the epochs that are left. If the first was cut off, its remaining steps are a fit of their own."""
    progress = recorder.progress
    with contextlib.closing(recorder):
        while progress.epoch < epochs and not recorder.out_of_time:
            last = progress.epoch + 1 if progress.step else epochs
            trainer.fit(
                training_data(batches, progress.epoch * batches.steps + progress.step, last * batches.steps),
                initial_epoch=progress.epoch,
                epochs=epochs,
                steps_per_epoch=batches.steps - progress.step,
                callbacks=[recorder],
                verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
                shuffle=False,
            )


def _validation(config, prepared, policy, rows):
    """``validate(network)``: NME in percent on the faces ``rows``."""
    truth = prepared.source_points_of(rows)
    normaliser = available_normalisers(prepared.scheme)[0]

    def validate(network):
        predicted = predict_dataset(network, prepared, rows, policy, config.batch_size)
        return nme(image_errors(predicted, truth, prepared.scheme, normaliser))

    return validate


def _load_teachers(config, prepared):
    """Role -> frozen network. A file that serves in two roles is loaded once."""
    paths, models = dict(config.teachers), {}
    if config.by_features:
        paths["feature-teacher"] = config.feature_teacher
    for role, path in paths.items():
        if path not in models:
            models[path] = _load_teacher(config, prepared, role, path)
    return {role: models[path] for role, path in paths.items()}


def _load_teacher(config, prepared, role, path):
    model, card = load_model(path)
    if card["dataset"] != config.dataset:
        raise CheckpointError(
            f"--{role} {path}: trained on {card['dataset']}, expected {config.dataset}: give a teacher of this set"
        )
    require_scheme(card, prepared.scheme, path)
    for field, wanted in (("image_size", config.image_size), ("box", config.box)):
        if card[field] != wanted:
            raise CheckpointError(
                f"--{role} {path}: trained with {field} {card[field]}, expected {wanted}: teachers see the "
                f"student's views, so give both the same --{field.replace('_', '-')}"
            )
    return model


def _feature_distillation(config, student, teacher):
    weights = {f"{term}_weight": getattr(config, f"{term}_weight") for term in config.by_features}
    return FeatureDistillation(feature_maps(student), feature_maps(teacher), **weights)


def _card(config, prepared):
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
    }


def _jit():
    # XLA on the CPU is several times slower for depthwise convolutions than TensorFlow's own kernels.
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.config.list_physical_devices("GPU") else False
