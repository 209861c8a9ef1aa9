"""A trained network as a folder that can be shipped: smaller files, each of them measured, and the card of all."""

import datetime
import json
import re
from dataclasses import replace
from pathlib import Path

from asm.atomic import new_folder, write_whole
from kdloss.datasets import dataset_spec
from kdloss.deploy.calibration import measure_confidence, reliability
from kdloss.deploy.half_precision import save_half
from kdloss.deploy.litert import LiteRTModel, export_litert
from kdloss.deploy.model_card import model_card
from kdloss.deploy.origin import origin
from kdloss.deploy.readers import KerasReader
from kdloss.deploy.representative import representative_crops, spread_rows
from kdloss.errors import ConfigError
from kdloss.evaluation.evaluation import evaluate_loaded, load_checkpoint
from kdloss.evaluation.provenance import machine_facts
from kdloss.evaluation.robustness import measure_robustness
from kdloss.pretrained import CARD, FILES, HALF, INT8, MODEL, describe
from kdloss.runs import environment
from kdloss.training.checkpoint import read_card

ORIGINAL = "original"
ROBUSTNESS = 100  # test faces; each costs 78 predictions
SPLITS = ("val", "test")
_NUMBERS = ("n", "official_n", "complete", "nme_interocular", "nme_interpupil", "nme_box", "fr10", "auc10")
_OF_PROTOCOL = (
    "scheme", "normaliser", "box", "thresholds", "flip_test", "occluded_points", "missing", "synthetic", "content",
)  # fmt: skip
CODE_LICENCE = "MIT"


def publish(checkpoint, name, prepared, out, *, command, announce=lambda line: None):
    """Writes a model folder as `kdloss.pretrained` holds them, whole or not at all.

    Args:
        checkpoint: a run folder, or the checkpoint in one.
        name: of the model: lower-case letters, digits, dots and dashes.
        prepared: the `PreparedDataset` of its data set: training faces for the scales of int8, validation and test
            faces to measure every file on.
        out: the folder to make.
        command: how that was asked for, a text for the card.
        announce: takes a line of progress now and then.

    Returns:
        The card, a dict.

    Raises:
        ConfigError: a name or a place that cannot be, no run folder, or one of another data set.
        CheckpointError: no such checkpoint, damaged, or for another landmark scheme.
        DataError: the set lacks a split.
    """
    out = Path(out)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise ConfigError(
            f"--name {name}: expected lower-case letters, digits, dots and dashes, as in mobilenetv2-300w"
        )
    if out.exists():
        raise ConfigError(f"{out}: exists already: remove it, or give another --out")
    loaded = load_checkpoint(checkpoint, prepared.scheme)
    facts = origin(loaded.run, prepared)
    with new_folder(out) as work:
        return _write(work, loaded, read_card(checkpoint), prepared, name, facts, command, announce)


def _write(work, loaded, described, prepared, name, facts, command, announce):
    confidence = _confidence(loaded, prepared, announce)
    described = described | ({"confidence": confidence.to_json()} if confidence else {})
    announce(f"writing {', '.join(FILES)}")
    save_half(work / MODEL, loaded.model, described)
    of_exports = described | {"source_sha256": describe(loaded.record["path"])["sha256"]}
    export_litert(loaded.model, work / HALF, "fp16", card=of_exports)
    export_litert(loaded.model, work / INT8, "int8", representative_crops(prepared, loaded), card=of_exports)
    models = {ORIGINAL: loaded, MODEL: load_checkpoint(work / MODEL, prepared.scheme)}
    models |= {file: replace(loaded, model=LiteRTModel(work / file)) for file in (HALF, INT8)}
    numbers, protocol = {}, {}
    for label, model in models.items():
        announce(f"measuring {label}")
        found = {split: evaluate_loaded(prepared, model, split=split).metrics for split in SPLITS}
        numbers[label] = {split: _chosen(metrics["subsets"]) for split, metrics in found.items()}
        protocol = {key: found["test"]["protocol"][key] for key in _OF_PROTOCOL} | {"notes": found["test"]["notes"]}
    rows = spread_rows(prepared.indices("test"), ROBUSTNESS)
    robustness = measure_robustness(models[MODEL].model, prepared, rows, loaded.box, announce=announce)
    surroundings = environment()
    card = {
        "name": name,
        "arch": described["arch"],
        "scheme": prepared.scheme.name,
        "points": prepared.scheme.num_points,
        "image_size": described["image_size"],
        "box": described["box"],
        "confidence": _reliability(confidence, models, prepared) if confidence else None,
        "parameters": loaded.model.count_params(),
        "files": {file: describe(work / file) for file in FILES},
        **facts,
        "source": {
            "run": loaded.run.name,
            "epoch": described.get("epoch"),
            "sha256": loaded.record["sha256"],
            "bytes": Path(loaded.record["path"]).stat().st_size,
        },
        "protocol": protocol,
        "numbers": numbers,
        "robustness": robustness,
        "licence": {"weights": licence(prepared.dataset), "code": CODE_LICENCE},
        "date": datetime.date.today().isoformat(),
        "packages": surroundings["packages"],
        **machine_facts(surroundings),
        "command": command,
    }
    write_whole(work / CARD, json.dumps(card, indent=1, allow_nan=False) + "\n")
    write_whole(work / "README.md", model_card(card))
    return card


def _confidence(loaded, prepared, announce):
    """What is measured of the network's confidence on validation faces; None where nothing can be."""
    try:
        return measure_confidence(KerasReader(loaded.model), prepared, loaded.box)
    except ConfigError as error:
        announce(f"no confidence: {error}")
        return None


def _reliability(confidence, models, prepared):
    """File -> what its confidence is worth on the test split."""
    readers = {MODEL: KerasReader(models[MODEL].model)} | {file: models[file].model for file in (HALF, INT8)}
    box = models[MODEL].box
    return {file: reliability(reader, confidence, prepared, box) for file, reader in readers.items()}


def licence(dataset):
    """Of weights that were trained on a data set; they inherit its terms."""
    terms = dataset_spec(dataset).licence
    if dataset == "300w":
        return (
            f"non-commercial research use only, inherited from 300-W ({terms}), whose faces the weights were trained on"
        )
    title = dataset_spec(dataset).title
    return f"inherited from {title} ({terms or 'terms of its owner'}), whose faces the weights were trained on"


def _chosen(subsets):
    """Of each subset that has faces, the numbers of the card."""
    return {name: {key: values[key] for key in _NUMBERS} for name, values in subsets.items() if values["n"]}
