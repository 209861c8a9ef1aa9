"""Where a trained network comes from, as its run folder tells: data, first weights, teachers."""

from pathlib import Path

from kdloss.datasets import dataset_spec
from kdloss.errors import ConfigError
from kdloss.evaluation.provenance import read_json
from kdloss.models.lite_weights import FILES
from kdloss.runs import FINISHED

IMAGENET = "ImageNet weights"
_TEACHERS = ("tough", "tolerant", "feature_teacher")
_LONGEST = 10  # starts that are followed back; more would be a circle


def origin(run, prepared):
    """What a model card says of the training.

    Args:
        run: the run folder, or None where a checkpoint lies in none.
        prepared: the `PreparedDataset` that it is measured on; of the same data set.

    Returns:
        A dict for JSON: ``seed``; ``training``, the run's configuration, of files the names alone; and ``data``:
        ``dataset``, ``title``, ``synthetic``, ``train_faces`` and ``val_faces`` (None where the run did not end by
        itself), ``prepared_train_faces`` (of ``prepared``), ``official_train_faces`` (None: no such number), ``starts``
        (the newest first) and ``teachers`` (of the run and those it started from).

    Raises:
        ConfigError: no run folder, or that of another data set.
        DataError: a file of it is damaged.
    """
    if run is None:
        raise ConfigError("the checkpoint lies in no run folder (no config.json beside it): give one of training's")
    config = read_json(run / "config.json", "that of a run of this project")
    if config.get("dataset") != prepared.dataset:
        raise ConfigError(f"{run}: trained on {config.get('dataset')}, expected {prepared.dataset}: give its --dataset")
    ended = run / FINISHED
    results = read_json(ended, "that of a finished run") if ended.is_file() else {}
    spec = dataset_spec(prepared.dataset)
    starts, teachers = _lineage(config)
    return {
        "seed": config.get("seed"),
        "training": {name: _portable(value) for name, value in config.items()},
        "data": {
            "dataset": spec.name,
            "title": spec.title,
            "synthetic": bool(prepared.synthetic),
            "train_faces": results.get("train_faces"),
            "val_faces": results.get("val_faces"),
            "prepared_train_faces": len(prepared.indices("train")),
            "official_train_faces": spec.official("train") or None,
            "starts": starts,
            "teachers": teachers,
        },
    }


def portable_command(words):
    """A command's words, of absolute paths the last part alone: the rest is one machine's."""
    found = []
    for word in words:
        option, sign, value = word.rpartition("=")
        found.append(f"{option}{sign}{_portable(value)}")
    return found


def _portable(value):
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _lineage(config):
    """What the weights started from, and that from, back to the first (none: random weights), and role -> teacher of
    all these runs."""
    starts, teachers = [], {}
    while True:
        teachers = {role: _named(config[role]) for role in _TEACHERS if config.get(role)} | teachers
        weights = config.get("weights", "none")
        if weights == "none" or len(starts) == _LONGEST:
            return starts, teachers
        starts.append(f"{IMAGENET} ({Path(weights).name})" if _is_imagenet(weights) else _named(weights))
        path = Path(weights)
        before = (path if path.is_dir() else path.parent) / "config.json"
        config = read_json(before, "that of a run of this project") if before.is_file() else {}


def _is_imagenet(weights):
    name = Path(weights).name
    # Keras calls its own files "..._no_top.h5" or "..._notop.h5".
    own = name.endswith(("_no_top.h5", "_notop.h5"))
    return own or name.startswith("imagenet") or name in {file for file, *_ in FILES.values()}


def _named(checkpoint):
    """A checkpoint by the name of its run, any other file by its own."""
    path = Path(checkpoint)
    return path.parent.name if path.name == "best.keras" and path.parent.name else path.name
