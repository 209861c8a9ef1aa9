"""Makes a model to ship of a trained network.

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

from data_prep.find import find_prepared
from kdloss.data.datasets import dataset_spec
from kdloss.deploy.half_precision import save_half
from kdloss.deploy.litert import LiteRTModel, export_litert
from kdloss.deploy.representative import representative_crops, spread_rows
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import evaluate_loaded, load_checkpoint
from kdloss.evaluation.robustness import measure_robustness
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, add_out_flag
from kdloss.files import new_folder, write_whole
from kdloss.inference.confidence_fit import measure_confidence, reliability
from kdloss.inference.readers import KerasReader
from kdloss.machine import environment
from kdloss.models.checkpoint import read_card
from kdloss.pretrained import CARD, FILES, HALF, INT8, MODEL, describe
from kdloss.training.runs import FINISHED

ROBUSTNESS = 100  # test faces; each costs 78 predictions
SPLITS = {"test": "Test split", "val": "Validation split"}
TEACHERS = ("tough", "tolerant", "feature_teacher")
MEASURES = {
    "nme_interocular": "NME ocular",
    "nme_interpupil": "NME pupil",
    "nme_box": "NME box",
    "fr10": "FR10",
    "auc10": "AUC10",
}
NUMBERS = ("n", "official_n", "complete", *MEASURES)
OF_PROTOCOL = (
    "scheme", "normaliser", "box", "thresholds", "flip_test", "occluded_points", "missing", "synthetic", "content",
)  # fmt: skip
# What is known of a data set that no measurement here tells.
LIMITS = {
    "300w": "300-W's faces are near frontal for the most part. Profiles, heavy occlusion and very small faces are rare "
    "in it, and nothing is known of the model there beyond the numbers above."
}
BIAS = {
    "300w": "300-W was collected from the web: mostly adults, mostly of light skin, many of them celebrities or posed "
    "photographs. It comes without demographic labels, so how errors differ between groups of people was not measured. "
    "Expect more of them on people whom it shows rarely, and measure on your own faces before relying on the model."
}
UNKNOWN = "Without demographic labels at hand, how errors differ between groups of people was not measured."


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
    """Seed, configuration and data of the training, from its run folder; of files the names alone."""
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
    """Of an absolute path the last part alone: the rest is one machine's."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def write_model(work, name, loaded, described, prepared, facts):
    """Writes the files into a folder, measures each of them, and returns the card."""
    try:
        confidence = measure_confidence(KerasReader(loaded.model), prepared, loaded.box)
    except ConfigError as error:  # of this network nothing can be measured
        print(f"no confidence: {error}")
        confidence = None
    described = described | ({"confidence": confidence.to_json()} if confidence else {})
    save_half(work / MODEL, loaded.model, described)
    of_exports = described | {"source_sha256": describe(loaded.record["path"])["sha256"]}
    export_litert(loaded.model, work / HALF, "fp16", card=of_exports)
    export_litert(loaded.model, work / INT8, "int8", representative_crops(prepared, loaded), card=of_exports)
    models = {"original": loaded, MODEL: load_checkpoint(work / MODEL, prepared.scheme)}
    models |= {file: replace(loaded, model=LiteRTModel(work / file)) for file in (HALF, INT8)}
    numbers = {}
    for label, model in models.items():
        print(f"measuring {label}")
        found = {split: evaluate_loaded(prepared, model, split=split).metrics for split in ("val", "test")}
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
        "protocol": {key: found["test"]["protocol"][key] for key in OF_PROTOCOL} | {"notes": found["test"]["notes"]},
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


def model_card(card):
    """The Markdown text of a card, the dict of ``card.json``."""
    name, size, data, source = card["name"], card["image_size"], card["data"], card["source"]
    sizes = _table(
        ["file", "MB"], [[f"`{file}`", f"{held['bytes'] / 1e6:.2f}"] for file, held in card["files"].items()]
    )
    synthetic = "\n\n**Trained and measured on SYNTHETIC faces: a test, of no use for real ones.**" * data["synthetic"]
    versions = ", ".join(f"{of} {card['packages'][of]}" for of in ("tensorflow", "keras") if of in card["packages"])
    robust, known = card["robustness"], LIMITS.get(data["dataset"])
    boxes = _table(["box", "NME"], [[label, f"{value:.2f}"] for label, value in _boxes(robust).items()])
    return f"""# {name}

Facial landmarks: the crop of a face, {size} x {size} pixels, to the {card["points"]} points of scheme \
{card["scheme"]}. A {card["arch"]} of {card["parameters"]:,} parameters, trained on {data["title"]}.{synthetic}

## Use

```python
import kdloss

model = kdloss.load("{name}")
points = (model.predict(crops) + 0.5) * {size} - 0.5  # (B, {size}, {size}, 3) RGB 0..255 -> (B, {card["points"]}, 2) \
pixels of the crop
```

```sh
python -m kdloss.evaluate --dataset {data["dataset"]} --checkpoint {name}
```

The LiteRT files take and yield the same, one face at a time, in any LiteRT runtime or by \
`kdloss.deploy.litert.LiteRTModel(kdloss.pretrained.path("{name}", "int8.tflite"))`.

{sizes}

## Training

{_training(card)}

## Numbers

{_numbers(card)}
{_confidence(card["confidence"]) if card.get("confidence") else ""}
## Limits

It finds no faces, and yields points for a crop without one too. It expects the crop it was trained on: {_crop(card)}. \
In looser, tighter, shifted or turned boxes `model.keras` errs by (NME in percent of the {robust["normaliser"]} \
distance, {robust["n"]} evenly spaced test faces):

{boxes}{f"{chr(10)}{chr(10)}{known}" if known else ""}

## Bias

{BIAS.get(data["dataset"], UNKNOWN)}

## Licence

Weights: {card["licence"]["weights"]}. Code: {card["licence"]["code"]}.

## Origin

From run {source["run"]} (checkpoint {source["sha256"]}), {card["date"]}, {card["machine"]}, {versions}:

```sh
{card["command"]}
```

All of it for machines, with the SHA-256 of each file: `card.json`.
"""


def _training(card):
    data, epoch = card["data"], card["source"]["epoch"]
    faces, own, official = data["train_faces"], data["prepared_train_faces"], data["official_train_faces"]
    of = f" of {official} official ones" if official and not data["synthetic"] else ""
    more = f"{faces - own} faces more than that split has" if faces > own else "no extra faces"
    trained = f"{faces} training faces; the training split here has {own}{of}; {more}"
    trained += f"; {data['val_faces']} others chose the epoch" if data["val_faces"] is not None else ""
    roles = ", ".join(f"{name} ({role.replace('_', ' ')})" for role, name in data["teachers"].items())
    return _list(
        f"{data['title']}: {trained}",
        f"first weights: {' <- '.join(data['starts']) or 'random, no ImageNet weights'}",
        f"distilled from: {roles}" if roles else "no teacher",
        f"seed {card['seed']}, one run" + (f", the weights of epoch {epoch}" if epoch is not None else ""),
    )


def _numbers(card):
    protocol = card["protocol"]
    terms = _list(
        "NME and FR in percent; each file was measured as it is shipped, `original` is the checkpoint it was made from",
        f"crop {protocol['box']}: {_crop(card)}",
        f"FR10 and AUC10: failure rate and area under the curve at 10 % of the {protocol['normaliser']} distance",
        f"{'with' if protocol['flip_test'] else 'no'} mirror test; occluded points {protocol['occluded_points']}; "
        f"faces without prediction: {protocol['missing']['counted']}",
        *protocol["notes"],
    )
    parts = [terms]
    for split, title in SPLITS.items():
        held = card["numbers"]["original"][split]
        counts = [found["n"] for subset, found in held.items() if subset != "full"]
        for subset, found in held.items():
            if subset != "full" or found["n"] not in counts:
                partial = found["official_n"] and not found["complete"] and not protocol["synthetic"]
                faces = f"{found['n']} of {found['official_n']} official faces" if partial else f"{found['n']} faces"
                parts.append(f"{title}, {subset}, {faces}:\n\n{numbers_table(card, split, subset)}")
    return "\n\n".join(parts)


def numbers_table(card, split, subset):
    """What each file measures on a subset, beside its size, in Markdown."""
    sizes = {name: file["bytes"] for name, file in (card["files"] | {"original": card["source"]}).items()}
    rows = []
    for label, found in card["numbers"].items():
        values = {key: found[split][subset][key] for key in MEASURES}
        texts = ["-" if values[key] is None else f"{values[key]:.{3 if key == 'auc10' else 2}f}" for key in MEASURES]
        rows.append([label, f"{sizes[label] / 1e6:.2f}", *texts])
    return _table(["file", "MB", *MEASURES.values()], rows)


def _confidence(found):
    """What confidences are worth: the least and the most confident tenth of the points, and all."""
    first = next(iter(found.values()))
    columns = ["file", "within", "rank correlation", "mean gap", "AUC", "least confident tenth", "most confident tenth"]
    rows = []
    for file, one in found.items():
        tenths = [f"{of['confidence']:.2f}, {of['within']:.2f}, {of['error']:.2f}" for of in one["groups"]]
        auc = "-" if one["auc"] is None else f"{one['auc']:.3f}"
        of_all = [f"{one['share_within']:.3f}", f"{one['spearman']:.2f}", f"{one['calibration_error']:.3f}", auc]
        rows.append([f"`{file}`", *of_all, tenths[0], tenths[-1]])
    return (
        "\n## Confidence\n\nEach point comes with a confidence: the estimated probability that it lies within "
        f"{100 * first['within']:g} % of the face box's side of where it was annotated, measured on validation faces. "
        f"On the {first['faces']} faces of the test split: the share of points that do, the rank correlation of "
        "confidence and error, the mean gap between confidence and that share over tenths of the points, the AUC, and "
        "confidence, share and mean error (percent of the side) of the least and the most confident tenth.\n\n"
        f"{_table(columns, rows)}\n"
    )


def _crop(card):
    source, _, scale = card["box"].partition(":")
    if not scale:
        return "the box of the landmarks and 10 pixels more on each side, stretched to a square"
    around = "the box around the landmarks" if source == "gt" else "the data set's own box of the face"
    return f"a square on {around}, {scale} times its longer side"


def _boxes(found):
    """What was done to the box -> NME, from the dict of `measure_robustness`."""
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


def _list(*lines):
    return "\n".join(f"- {line}" for line in lines)


def _table(columns, rows):
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
