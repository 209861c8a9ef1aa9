"""The card of a shipped model for people: Markdown, of which every number comes from ``card.json``."""

from kdloss.evaluation.table import Column, Row, Table, markdown_table

_MEASURES = {
    "nme_interocular": "NME ocular",
    "nme_interpupil": "NME pupil",
    "nme_box": "NME box",
    "fr10": "FR10",
    "auc10": "AUC10",
}
_SPLITS = {"test": "Test split", "val": "Validation split"}
_TURNS = (15.0, 30.0)
# What is known of a data set that no measurement here tells.
_LIMITS = {
    "300w": "300-W's faces are near frontal for the most part. Profiles, heavy occlusion and very small faces are rare "
    "in it, and nothing is known of the model there beyond the numbers above."
}
_BIAS = {
    "300w": "300-W was collected from the web: mostly adults, mostly of light skin, many of them celebrities or posed "
    "photographs. It comes without demographic labels, so how errors differ between groups of people was not measured. "
    "Expect more of them on people whom it shows rarely, and measure on your own faces before relying on the model."
}
_UNKNOWN = "Without demographic labels at hand, how errors differ between groups of people was not measured."


def model_card(card):
    """The Markdown text of a card, the dict that `kdloss.deploy.publishing.publish` makes."""
    parts = [
        f"# {card['name']}\n\n{_what(card)}",
        f"## Use\n\n{_use(card)}",
        f"## Training\n\n{_training(card)}",
        f"## Numbers\n\n{_numbers(card)}",
        *([f"## Confidence\n\n{_confidence(card)}"] if card.get("confidence") else []),
        f"## Limits\n\n{_limits(card)}",
        f"## Bias\n\n{_BIAS.get(card['data']['dataset'], _UNKNOWN)}",
        f"## Licence\n\nWeights: {card['licence']['weights']}. Code: {card['licence']['code']}.",
        f"## Origin\n\n{_made(card)}",
    ]
    return "\n\n".join(parts) + "\n"


def numbers_table(card, split, subset):
    """What each file measures on a subset, beside its size: a `Table`."""
    sizes = {name: file["bytes"] / 1e6 for name, file in card["files"].items()}
    sizes["original"] = card["source"]["bytes"] / 1e6
    rows = [
        Row(label, found[split][subset] | {"MB": sizes[label]}, "reference" if label == "original" else "measured")
        for label, found in card["numbers"].items()
    ]
    columns = [Column(key, label, 3 if key.startswith("auc") else 2) for key, label in _MEASURES.items()]
    title = f"{card['name']}: {_faces(card, split, subset)}"
    return Table(title, (Column("MB", "MB"), *columns), tuple(rows), heading="file")


def _what(card):
    size, data = card["image_size"], card["data"]
    text = (
        f"Facial landmarks: the crop of a face, {size} x {size} pixels, to the {card['points']} points of scheme "
        f"{card['scheme']}. A {card['arch']} of {card['parameters']:,} parameters, trained on {data['title']}."
    )
    return text + (
        "\n\n**Trained and measured on SYNTHETIC faces: a test, of no use for real ones.**" * data["synthetic"]
    )


def _use(card):
    name, size = card["name"], card["image_size"]
    sizes = "\n".join(f"| `{file}` | {found['bytes'] / 1e6:.2f} |" for file, found in card["files"].items())
    return (
        "```python\n"
        "import kdloss\n\n"
        f'model = kdloss.load("{name}")\n'
        f"points = (model.predict(crops) + 0.5) * {size} - 0.5  # (B, {size}, {size}, 3) RGB 0..255 -> "
        f"(B, {card['points']}, 2) pixels of the crop\n"
        "```\n\n"
        "```sh\n"
        f"python -m kdloss.evaluate --dataset {card['data']['dataset']} --checkpoint {name}\n"
        "```\n\n"
        "The LiteRT files take and yield the same, one face at a time, in any LiteRT runtime or by "
        f'`kdloss.deploy.litert.LiteRTModel(kdloss.pretrained.path("{name}", "int8.tflite"))`.\n\n'
        f"| file | MB |\n| --- | ---: |\n{sizes}"
    )


def _training(card):
    data = card["data"]
    lines = [_trained_on(data)]
    starts = " <- ".join(data["starts"])
    lines.append(f"first weights: {starts}" if starts else "first weights: random, no ImageNet weights")
    roles = ", ".join(f"{name} ({role.replace('_', ' ')})" for role, name in data["teachers"].items())
    lines.append(f"distilled from: {roles}" if roles else "no teacher")
    epoch = card["source"]["epoch"]
    lines.append(f"seed {card['seed']}, one run" + (f", the weights of epoch {epoch}" if epoch is not None else ""))
    return "\n".join(f"- {line}" for line in lines)


def _trained_on(data):
    faces, own, official = data["train_faces"], data["prepared_train_faces"], data["official_train_faces"]
    of = f" of {official} official ones" if official and not data["synthetic"] else ""
    if faces is None:
        return (
            f"{data['title']}: number of faces not recorded, as the run did not end by itself; its split has {own}{of}"
        )
    more = f"; {faces - own} faces more than that split has" if faces > own else "; no extra faces"
    text = f"{data['title']}: {faces} training faces; the training split here has {own}{of}{more}"
    return f"{text}; {data['val_faces']} others chose the epoch" if data["val_faces"] is not None else text


def _numbers(card):
    protocol = card["protocol"]
    terms = [
        "NME and FR in percent; each file was measured as it is shipped, `original` is the checkpoint it was made from",
        f"crop {protocol['box']}: {_crop(card)}",
        f"FR10 and AUC10: failure rate and area under the curve at 10 % of the {protocol['normaliser']} distance",
        f"{'with' if protocol['flip_test'] else 'no'} mirror test; occluded points {protocol['occluded_points']}; "
        f"faces without prediction: {protocol['missing']['counted']}",
        *protocol["notes"],
    ]
    parts = ["\n".join(f"- {term}" for term in terms)]
    for split in _SPLITS:
        parts += [
            f"{_faces(card, split, subset)}:\n\n{markdown_table(numbers_table(card, split, subset))}"
            for subset in _distinct(card, split)
        ]
    return "\n\n".join(parts)


def _confidence(card):
    """What confidences are worth: the least and the most confident tenth of the points, and all."""
    found = card["confidence"]
    first = next(iter(found.values()))
    columns = ("within", "rank correlation", "mean gap", "AUC", "least confident tenth", "most confident tenth")
    rows = [
        f"| `{file}` | {one['share_within']:.3f} | {one['spearman']:.2f} | {one['calibration_error']:.3f} | "
        f"{_rounded(one['auc'])} | {_tenth(one['groups'][0])} | {_tenth(one['groups'][-1])} |"
        for file, one in found.items()
    ]
    return (
        "Each point comes with a confidence: the estimated probability that it lies within "
        f"{100 * first['within']:g} % of the face box's side of where it was annotated, measured on validation faces. "
        f"On the {first['faces']} faces of the test split: the share of points that do, the rank correlation of "
        "confidence and error, the mean gap between confidence and that share over tenths of the points, the AUC, and "
        "confidence, share and mean error (percent of the side) of the least and the most confident tenth.\n\n"
        f"| file | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}\n" + "\n".join(rows)
    )


def _tenth(group):
    return f"{group['confidence']:.2f}, {group['within']:.2f}, {group['error']:.2f}"


def _rounded(auc):
    return "-" if auc is None else f"{auc:.3f}"


def _distinct(card, split):
    """Subsets in the card's order, without a full set that is one of the others."""
    found = card["numbers"]["original"][split]
    parts = [name for name in found if name != "full"]
    return [name for name in found if name != "full" or found["full"]["n"] not in [found[part]["n"] for part in parts]]


def _faces(card, split, subset):
    found = card["numbers"]["original"][split][subset]
    partial = found["official_n"] and not found["complete"] and not card["protocol"]["synthetic"]
    count = f"{found['n']} of {found['official_n']} official faces" if partial else f"{found['n']} faces"
    return f"{_SPLITS[split]}, {subset}, {count}"


def _crop(card):
    source, _, scale = card["box"].partition(":")
    if not scale:
        return "the box of the landmarks and 10 pixels more on each side, stretched to a square"
    around = "the box around the landmarks" if source == "gt" else "the data set's own box of the face"
    return f"a square on {around}, {scale} times its longer side"


def _limits(card):
    found = card["robustness"]
    text = (
        f"It finds no faces, and yields points for a crop without one too. It expects the crop it was trained on: "
        f"{_crop(card)}. In looser, tighter, shifted or turned boxes `model.keras` errs by (NME in percent of the "
        f"{found['normaliser']} distance, {found['n']} evenly spaced test faces):\n\n"
    )
    rows = "\n".join(f"| {label} | {value:.2f} |" for label, value in _boxes(found).items())
    text += f"| box | NME |\n| --- | ---: |\n{rows}"
    known = _LIMITS.get(card["data"]["dataset"])
    return f"{text}\n\n{known}" if known else text


def _boxes(found):
    """What was done to the box -> NME, from the dict of `measure_robustness`."""
    shift, turn = found["shift"], found["scale_rotation"]
    upright = turn["rotations"].index(0.0)
    still = shift["shifts"].index(0.0)
    rows = {"its own": found["baseline_nme"]}
    rows |= {
        f"sides x {scale:g}": line[upright]
        for scale, line in zip(turn["scales"], turn["nme"], strict=True)
        if scale != 1.0
    }
    for by in (value for value in shift["shifts"] if value > 0):
        more, less = shift["shifts"].index(by), shift["shifts"].index(-by)
        four = [
            shift["nme"][still][more],
            shift["nme"][still][less],
            shift["nme"][more][still],
            shift["nme"][less][still],
        ]
        rows[f"shifted by {by:.0%} of its side (mean of four directions)"] = sum(four) / 4
    plain = turn["nme"][turn["scales"].index(1.0)]
    for degrees in _TURNS:
        two = [plain[turn["rotations"].index(sign * degrees)] for sign in (1, -1)]
        rows[f"turned by {degrees:g} degrees (mean of both ways)"] = sum(two) / 2
    return rows


def _made(card):
    source, versions = card["source"], card["packages"]
    packages = ", ".join(f"{name} {versions[name]}" for name in ("tensorflow", "keras") if name in versions)
    return (
        f"From run {source['run']} (checkpoint {source['sha256']}), {card['date']}, {card['machine']}, {packages}:\n\n"
        f"```sh\n{card['command']}\n```\n\n"
        "All of it for machines, with the SHA-256 of each file: `card.json`."
    )
