"""Makes a model to ship from a trained network.

    python tools/publish.py --checkpoint runs/student --name mobilenetv2-300w --dataset 300w \\
        --start "ImageNet weights (imagenet-lite0)"

Writes a folder as `kdloss.pretrained` holds them, whole or not at all: the network in 16 bits for Keras, in 16 and in 8
bits for LiteRT, ``card.json`` with what each of these files measures on the validation and on the test split, and
``README.md``, the same for people.
"""

import argparse
import datetime
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import jinja2

from data_prep.find import find_prepared
from kdloss.data.datasets import dataset_spec
from kdloss.deploy.half_precision import save_half
from kdloss.deploy.litert import export_litert
from kdloss.deploy.representative import representative_crops
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import evaluate_loaded, learned_validation, load_checkpoint
from kdloss.evaluation.protocol import spread_rows
from kdloss.evaluation.robustness import measure_robustness
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, add_out_flag
from kdloss.files import new_folder, write_whole
from kdloss.inference.confidence import Confidence, stored_confidence
from kdloss.inference.confidence_fit import measure_confidence, reliability
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.readers import KerasReader
from kdloss.machine import environment
from kdloss.models.checkpoint import read_card
from kdloss.pretrained import CARD, FILES, HALF, INT8, MODEL, describe
from kdloss.training.runs import FINISHED

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
ROBUSTNESS = 100  # test faces; each costs 78 predictions
SPLITS = {"test": "Test split", "val": "Validation split"}
TEACHERS = ("tough", "tolerant", "feature_teacher")
# Measure -> its heading and its decimals.
MEASURES = {
    "nme_interocular": ("NME ocular", 2),
    "nme_interpupil": ("NME pupil", 2),
    "nme_box": ("NME box", 2),
    "fr10": ("FR10", 2),
    "auc10": ("AUC10", 3),
}
NUMBERS = ("n", "official_n", "complete", *MEASURES)
PROTOCOL = (
    "scheme", "normaliser", "box", "thresholds", "flip_test", "occluded_points", "missing", "synthetic", "content",
)  # fmt: skip


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_checkpoint_flag(parser, "network to publish, in its run folder", required=True)
    parser.add_argument("--name", required=True, help="of the model, such as mobilenetv2-300w")
    add_data_flags(parser, about="whose faces are measured", required=True)
    parser.add_argument("--start", nargs="*", default=[], help="first weights, the newest first (default: random)")
    add_out_flag(parser, "folder to make (default: kdloss/pretrained/NAME)")
    args = parser.parse_args(argv)
    out = args.out or Path("kdloss") / "pretrained" / args.name
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", args.name):
        raise ConfigError(f"--name {args.name}: expected lower-case letters, digits, dots and dashes")
    if out.exists():
        raise ConfigError(f"{out}: exists already: remove it, or give another --out")
    prepared = find_prepared(args.dataset, args.data)
    loaded = load_checkpoint(args.checkpoint, prepared.scheme)
    facts = training_facts(loaded.run, prepared, args.start)
    words = sys.argv[1:] if argv is None else argv
    facts["command"] = f"python tools/publish.py {shlex.join(map(_portable, words))}"
    with new_folder(out) as work:
        card = write_model(work, args.name, loaded, read_card(args.checkpoint), prepared, facts)
    print(numbers_table(card, "test", "full"))
    print(f"wrote {', '.join(FILES)}, {CARD} and README.md to {out}")
    return 0


def training_facts(run, prepared, starts):
    """Seed, configuration and data of a training, from its run folder."""
    if run is None or not (run / FINISHED).is_file():
        raise ConfigError(f"the checkpoint lies in no run folder of a finished training: found no {FINISHED} beside it")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    if config["dataset"] != prepared.dataset:
        raise ConfigError(f"{run}: trained on {config['dataset']}, expected {prepared.dataset}: give its --dataset")
    if config["weights"] != "none" and not starts:
        raise ConfigError(f"{run}: its first weights were {config['weights']}: say what they are with --start")
    results = json.loads((run / FINISHED).read_text(encoding="utf-8"))
    spec = dataset_spec(prepared.dataset)
    return {
        "seed": config["seed"],
        "training": {name: _portable(value) for name, value in config.items()},
        "data": {
            "dataset": spec.name,
            "title": spec.title,
            "synthetic": bool(prepared.synthetic),
            **{name: results[name] for name in ("train_faces", "val_faces")},
            "prepared_train_faces": len(prepared.indices("train")),
            "official_train_faces": spec.official("train") or None,
            "starts": starts,
            "teachers": {role: Path(config[role]).parent.name for role in TEACHERS if config.get(role)},
        },
    }


def _portable(value):
    """The last part of an absolute path: the rest names folders of one machine. Other values as they are."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def write_model(work, name, loaded, described, prepared, facts):
    """Writes the files into a folder, measures each of them, and returns the card."""
    splits = ["test"] if learned_validation(loaded.run) else [*SPLITS]
    try:
        confidence = _confidence(loaded, prepared)
        described = described | {"confidence": confidence.to_json()}
    except ConfigError as error:  # the confidence of this network cannot be measured
        print(f"no confidence: {error}")
        confidence = None
    save_half(work / MODEL, loaded.model, described)
    export_card = described | {"source_sha256": describe(loaded.record["path"])["sha256"]}
    export_litert(loaded.model, work / HALF, "fp16", card=export_card)
    export_litert(loaded.model, work / INT8, "int8", representative_crops(prepared, loaded), card=export_card)
    models = {"original": loaded, MODEL: load_checkpoint(work / MODEL, prepared.scheme)}
    models |= {file: replace(loaded, model=LiteRTModel(work / file)) for file in (HALF, INT8)}
    numbers = {}
    for label, model in models.items():
        print(f"measuring {label}")
        found = {split: evaluate_loaded(prepared, model, split=split).metrics for split in splits}
        numbers[label] = {
            split: {name: {key: of[key] for key in NUMBERS} for name, of in metrics["subsets"].items() if of["n"]}
            for split, metrics in found.items()
        }
    readers = {MODEL: KerasReader(models[MODEL].model)} | {file: models[file].model for file in (HALF, INT8)}
    rows, machine = spread_rows(prepared.indices("test"), ROBUSTNESS), environment()
    spec = dataset_spec(prepared.dataset)
    terms = "non-commercial research use only, " * (prepared.dataset == "300w")
    terms += f"inherited from {spec.title} ({spec.licence or 'terms of its owner'})"
    card = {
        "name": name,
        "arch": described["arch"],
        "scheme": prepared.scheme.name,
        "points": prepared.scheme.num_points,
        "image_size": described["image_size"],
        "box": described["box"],
        "confidence": confidence
        and {file: reliability(reader, confidence, prepared, loaded.box) for file, reader in readers.items()},
        "parameters": loaded.model.count_params(),
        "files": {file: describe(work / file) for file in FILES},
        **facts,
        "source": {
            "run": loaded.run.name,
            "epoch": described.get("epoch"),
            "sha256": loaded.record["sha256"],
            "bytes": Path(loaded.record["path"]).stat().st_size,
        },
        "protocol": {key: found["test"]["protocol"][key] for key in PROTOCOL} | {"notes": found["test"]["notes"]},
        "numbers": numbers,
        "robustness": measure_robustness(models[MODEL].model, prepared, rows, loaded.box, announce=print),
        "licence": {"weights": f"{terms}, whose faces the weights were trained on", "code": "MIT"},
        "date": datetime.date.today().isoformat(),
        "packages": machine["packages"],
        "machine": f"{machine['processor'] or 'unknown processor'}, {machine['cores']} cores",
        "accelerator": ", ".join(machine["accelerators"]) or "none",
    }
    write_whole(work / CARD, json.dumps(card, indent=1, allow_nan=False) + "\n")
    write_whole(work / "README.md", model_card(card))
    return card


def _confidence(loaded, prepared):
    """The `Confidence` measured on the validation faces; that of its twin if it learned them."""
    if not learned_validation(loaded.run):
        return measure_confidence(KerasReader(loaded.model), prepared, loaded.box)
    if not (stored := stored_confidence(loaded.record["path"])):
        raise ConfigError(f"{loaded.label} learned the validation faces: run calibrate confidence --twin before")
    return Confidence.from_json(stored, prepared.scheme.num_points)


def model_card(card):
    """The Markdown text of a card, which is the dict of ``card.json``."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        card=card,
        crop=_crop(card["box"]),
        measured=_measured(card),
        errors_by_box=_errors_by_box(card["robustness"]),
        versions=", ".join(f"{of} {card['packages'][of]}" for of in ("tensorflow", "keras") if of in card["packages"]),
    )


def _measured(card):
    """(title, table) of each split and subset; the full set only if it differs from all others."""
    for split, title in SPLITS.items():
        subsets = card["numbers"]["original"].get(split, {})
        counts = [of["n"] for subset, of in subsets.items() if subset != "full"]
        for subset, of in subsets.items():
            if subset != "full" or of["n"] not in counts:
                partial = of["official_n"] and not of["complete"] and not card["protocol"]["synthetic"]
                faces = f"{of['n']} of {of['official_n']} official faces" if partial else f"{of['n']} faces"
                yield f"{title}, {subset}, {faces}", numbers_table(card, split, subset)


def numbers_table(card, split, subset):
    """A Markdown table of the size of each file and what it measures on a subset."""
    sizes = card["files"] | {"original": card["source"]}
    lines = [["file", "MB", *(heading for heading, _ in MEASURES.values())], ["---", *["---:"] * (1 + len(MEASURES))]]
    for label, found in card["numbers"].items():
        values = found[split][subset]
        cells = ["-" if values[key] is None else f"{values[key]:.{digits}f}" for key, (_, digits) in MEASURES.items()]
        lines.append([label, f"{sizes[label]['bytes'] / 1e6:.2f}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _crop(box):
    source, _, scale = box.partition(":")
    if not scale:
        return "the box of the landmarks and 10 pixels more on each side, stretched to a square"
    around = "the box around the landmarks" if source == "gt" else "the data set's own box of the face"
    return f"a square on {around}, {scale} times its longer side"


def _errors_by_box(found):
    """How the box was changed -> NME, from the dict of `measure_robustness`."""
    shift, turn = found["shift"], found["scale_rotation"]
    upright, still = turn["rotations"].index(0.0), shift["shifts"].index(0.0)
    rows = {"its own": found["baseline_nme"]}
    for scale, line in zip(turn["scales"], turn["nme"], strict=True):
        if scale != 1.0:
            rows[f"sides x {scale:g}"] = line[upright]
    for by in (value for value in shift["shifts"] if value > 0):
        ends = [shift["shifts"].index(by), shift["shifts"].index(-by)]
        four = [shift["nme"][still][end] for end in ends] + [shift["nme"][end][still] for end in ends]
        rows[f"shifted by {by:.0%} of its side (mean of four directions)"] = sum(four) / 4
    plain = turn["nme"][turn["scales"].index(1.0)]
    for degrees in (15.0, 30.0):
        two = [plain[turn["rotations"].index(sign * degrees)] for sign in (1, -1)]
        rows[f"turned by {degrees:g} degrees (mean of both ways)"] = sum(two) / 2
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
