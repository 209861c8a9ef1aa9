"""One training run, straight down: data, network, teachers, objective, fit, best checkpoint."""

import json
import sys

import keras

from asm.atomic import write_whole
from kdloss.augment import augmentation
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation.metrics import available_normalisers, image_errors, nme
from kdloss.geometry import BoxPolicy
from kdloss.models import build_model, feature_maps, predicts_heatmaps
from kdloss.pipeline import ViewBatches, training_data
from kdloss.prediction import predict_dataset
from kdloss.runs import environment, finish, finished
from kdloss.soft_landmarks import fit_shape_model, soft_points, unit_shapes
from kdloss.teacher_cache import cached_teacher
from kdloss.training.checkpoint import checkpoint_path, load_model, load_state, require_scheme
from kdloss.training.config import TrainConfig
from kdloss.training.deadline import OutOfTime
from kdloss.training.feature_distillation import FeatureDistillation
from kdloss.training.objectives import objective_for
from kdloss.training.recorder import RunRecorder, state_variables
from kdloss.training.trainer import DistillationTrainer


def train(config, prepared, folder, *, resume=False, shape=None, verbose=None, deadline=None):
    """Trains one network.

    Args:
        config: a `TrainConfig`.
        prepared: the `PreparedDataset` of ``config.dataset``.
        folder: the run folder (`pathlib.Path`): config.json, environment.json, metrics.jsonl, history.csv,
            tensorboard/, last/ (to resume from) and best.keras.
        resume: goes on where the run in ``folder`` stopped; a finished run is left as it is.
        shape: a `asm.ShapeModel` for soft landmarks; fitted on the training faces by default.
        verbose: Keras' progress: 0 silent, 1 bar, 2 a line an epoch; None is a bar on a terminal, else lines.
        deadline: a `Deadline`; no epoch is begun that would end after it.

    Returns:
        The run's results: ``val_nme`` in percent, ``epochs``, ``seconds``.

    Raises:
        ConfigError, CheckpointError, DataError: what a user can mend.
        OutOfTime: the deadline came first; ``resume`` goes on.
    """
    _check_folder(folder, config, resume)
    if results := finished(folder):
        return results
    if config.heatmap_loss != "none" and not predicts_heatmaps(config.arch):
        raise ConfigError(f"--heatmap-loss {config.heatmap_loss}: {config.arch} regresses points: leave it out")
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)

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
    }
    batches = ViewBatches(prepared, train_rows, **views)

    student = build_model(
        config.arch,
        prepared.scheme.num_points,
        config.image_size,
        weights=config.weights,
        mean_shape=unit_shapes(prepared, policy)[train_rows].mean(axis=0),
    )
    teachers = _load_teachers(config, prepared)
    features = {}
    if feature_teacher := teachers.pop("feature-teacher", None):
        features["feature_teacher"] = feature_teacher
        features["feature_distillation"] = _feature_distillation(config, student, feature_teacher)
    _start_folder(folder, config)
    if shape is not None:
        shape.save(folder / "shape.npz")
    online = teachers
    if config.teacher_views:
        online = {}
        batches.stored = {
            role: cached_teacher(
                model, checkpoint_path(config.teachers[role]), batches, folder.parent / "teacher-views", deadline
            )
            for role, model in teachers.items()
        }
    objective, terms = objective_for(config)
    trainer = DistillationTrainer(student, objective, online, logits=config.heatmap_loss != "none", **features)
    trainer.track_terms(terms)
    trainer.compile(optimizer=_optimizer(config, batches.steps), jit_compile=_jit())
    trainer.optimizer.build(trainer.trainable_variables)

    truth = prepared.source_points[val_rows]
    normaliser = available_normalisers(prepared.scheme)[0]

    def validate(network):
        predicted = predict_dataset(network, prepared, val_rows, policy, config.batch_size)
        return nme(image_errors(predicted, truth, prepared.scheme, normaliser))

    first, rows, best = 0, [], float("inf")
    state = folder / "last" / "state.npz"
    if resume and state.exists():
        progress = load_state(state, state_variables(trainer))
        first, rows, best = progress["epoch"], progress["rows"], progress["best"]
    recorder = RunRecorder(
        folder, _card(config, prepared), validate, ema=config.ema > 0, rows=rows, best=best, deadline=deadline
    )
    if first < config.epochs:
        trainer.fit(
            training_data(batches, first, config.epochs),
            initial_epoch=first,
            epochs=config.epochs,
            steps_per_epoch=batches.steps,
            callbacks=[recorder],
            verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
            shuffle=False,
        )
    if len(recorder.rows) < config.epochs:
        raise OutOfTime(f"{folder}: {len(recorder.rows)} of {config.epochs} epochs are done")
    results = {
        "val_nme": recorder.best,
        "epochs": len(recorder.rows),
        "seconds": round(sum(row["seconds"] for row in recorder.rows), 1),
        "train_faces": len(train_rows),
        "val_faces": len(val_rows),
        "synthetic": prepared.synthetic,
    }
    finish(folder, results)
    return results


def _check_folder(folder, config, resume):
    stored = folder / "config.json"
    if stored.exists():
        try:
            changed = TrainConfig.from_json(stored.read_text(encoding="utf-8")).differences(config)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{stored}: damaged ({error}): give --out another folder") from error
        if not resume:
            raise ConfigError(f"--out {folder}: holds a run already: give another folder, or --resume to go on with it")
        if changed:
            raise ConfigError(
                f"--resume {folder}: {', '.join(changed)} differ from those the run was started with: "
                f"leave them out, or start a new run"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder}: exists and is no run folder: give another")


def _start_folder(folder, config):
    """Only when nothing speaks against the run any more: one that is refused leaves nothing behind."""
    stored = folder / "config.json"
    if stored.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "environment.json", json.dumps(environment(), indent=1))
    write_whole(stored, config.to_json())


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


def _optimizer(config, steps):
    optimizer = keras.optimizers.AdamW(
        _schedule(config, steps),
        weight_decay=config.weight_decay,
        use_ema=config.ema > 0,
        ema_momentum=config.ema or 0.99,
    )
    # Decay shrinks kernels; offsets and normalisation gains have nothing to gain from it.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _schedule(config, steps):
    schedules = keras.optimizers.schedules
    if config.schedule == "inverse-time":
        return schedules.InverseTimeDecay(config.learning_rate, decay_steps=1, decay_rate=1e-4)
    if config.schedule == "steps":
        ends = [max(1, round(share * config.epochs)) * steps for share in (3 / 8, 5 / 8)]
        return schedules.PiecewiseConstantDecay(ends, [config.learning_rate * 0.1**n for n in range(3)])
    total, warmup = config.epochs * steps, round(config.warmup_epochs * steps)
    return schedules.CosineDecay(
        config.learning_rate / 100 if warmup else config.learning_rate,
        decay_steps=max(1, total - warmup),
        alpha=0.01,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def _jit():
    # XLA on the CPU is several times slower for depthwise convolutions than TensorFlow's own kernels.
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.config.list_physical_devices("GPU") else False
