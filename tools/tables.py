"""Tables of the documents, from JSON files beside them.

    python tools/tables.py            # writes the tables of README.md and docs/**/*.md
    python tools/tables.py --check    # ends with 1, and a line for each table that differs from its JSON

A table stands in a document between ``<!-- table: FILE.json NAME -->`` and ``<!-- end of table -->``; the path is
relative to the document. The JSON holds ``"tables": {NAME: TABLE}`` beside whatever else a command wrote. A TABLE is

    {"title": text, "columns": [text, ...], "rows": [[cell, ...], ...], "notes": [text, ...]}

with cells as they are shown. Or its rows are ids of measurements: ``"rows": [id, ...]``, ``"from": [file, ...]``. They
stand in the lists ``measured`` (each with an id, a label and what ``metrics.json`` holds), ``differences``,
``quantities`` or ``published`` of the file itself and of the files in ``from``, so that each number has one place. A
column is then a subset (its NME), a subset and one of `MEASURES` (without a subset: of the full set), one of `FIELDS`,
or a field of the measurement. Protocol, caveats and sources become notes.

A shipped model's ``card.json`` has one table, ``facts``, which is made of the card.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import yaml
from tabulate import tabulate

from kdloss.evaluation.tables import MEASURES

BLOCK = re.compile(r"^<!-- table: (\S+) (\S+) -->\n(.*?)^<!-- end of table -->$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"^<!-- (table: .*|end of table) -->$", re.MULTILINE)

# Heading of a column -> its cell, from a measurement; the cell is absent if the field is.
FIELDS = {
    "network": lambda row: row["protocol"]["checkpoint"]["arch"],
    "px": lambda row: row["protocol"]["checkpoint"]["image_size"],
    "checkpoint": lambda row: row["protocol"]["checkpoint"]["sha256"][:8],
    "start": lambda row: row["training"]["start"],
    "epochs": lambda row: row["training"]["epochs"],
    "training faces": lambda row: row["training"]["faces"],
    "seconds": lambda row: f"{row['training']['seconds']:.0f}",
    "validation NME": lambda row: f"{row['training']['val_nme']:.3f}",
    "NME points": lambda row: f"{row['difference']:+z.3f}",
    "interval": lambda row: f"[{row['low']:+z.3f}, {row['high']:+z.3f}]",
    "measured": lambda row: f"{_number(row['value'])} {row['unit']}",
    "spread": lambda row: f"{_number(row['low'])} to {_number(row['high'])}",
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a table differs")
    parser.add_argument("files", nargs="*", type=Path, help="default: README.md and all Markdown below docs/")
    args = parser.parse_args(argv)
    files = args.files or [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
    documents = {path: _read(path) for path in files}
    fresh = {path: renewed(path, text) for path, text in documents.items()}
    if not any(map(BLOCK.search, documents.values())):
        sys.exit("error: no table in these documents: expected <!-- table: FILE.json NAME --> in one of them")
    stale = []
    for path, text in fresh.items():
        pairs = zip(BLOCK.findall(documents[path]), BLOCK.findall(text), strict=True)
        stale += [f"{path}: {old[0]} {old[1]}" for old, new in pairs if old != new]
        if not args.check and text != documents[path]:
            path.write_text(text, encoding="utf-8")
    for table in stale:
        print(f"{table}: {'not what its JSON says' if args.check else 'written'}")
    return int(args.check and bool(stale))


def renewed(path, text):
    """The text of a document with its tables from their JSON."""
    if len(MARKER.findall(text)) != 2 * len(BLOCK.findall(text)):
        sys.exit(f"error: {path}: a marker of a table without its other half: found {', '.join(MARKER.findall(text))}")
    return BLOCK.sub(lambda found: _block(path.parent / found[1], found[1], found[2]), text)


def _block(path, file, name):
    held = json.loads(_read(path))
    tables = {"facts": _facts(held)} if path.name == "card.json" else held.get("tables", {})
    if name not in tables:
        sys.exit(f"error: {path}: no table {name}: found {', '.join(tables) or 'none'}")
    table = tables[name]
    if table["rows"] and isinstance(table["rows"][0], str):
        table = _of_measurements(path, table)
    notes = "".join(f"- {note}\n".replace("- *", "- \\*") for note in table.get("notes", ()))
    shown = [f"<!-- table: {file} {name} -->", table["title"], markdown(table["columns"], table["rows"])]
    return "\n\n".join([*shown, *([notes.rstrip()] if notes else []), "<!-- end of table -->"])


def _facts(card):
    """What a shipped model is and how it was trained, from its card."""
    data, training = card["data"], card["training"]
    official = f" of {data['official_train_faces']}" if data["official_train_faces"] else ""
    settings = ("image_size", "box", "augment", "epochs", "batch_size", "ema", "precision", "seed")
    facts = {
        "network": f"{card['arch']}, {card['parameters']:,} parameters",
        "reads, yields": f"crops of {card['image_size']} x {card['image_size']} px, {card['points']} points",
        "files": ", ".join(f"{name} {of['bytes'] / 1e6:.2f} MB" for name, of in card["files"].items()),
        "trained on": f"{data['train_faces']}{official} training faces of {data['title']}; "
        + (f"{data['val_faces']} others chose the epoch" if data["val_faces"] else "settings and epochs fixed before"),
        "first weights": " <- ".join(data["starts"]) or "random",
        "teachers": ", ".join(data["teachers"].values()) or "none",
        "settings": ", ".join(f"{name.replace('_', ' ')} {training[name]}" for name in settings),
        "licence": f"weights: {card['licence']['weights']}; code: {card['licence']['code']}",
    }
    return {"title": "What it is", "columns": ["fact", "value"], "rows": [*facts.items()]}


def markdown(columns, rows):
    """A table in Markdown. The first column is aligned left, and so are those with a word of three letters."""
    rows = [["-" if cell is None else str(cell).replace("|", "\\|") for cell in row] for row in rows]
    words = [True, *(any(re.search("[A-Za-z]{3}", row[i]) for row in rows) for i in range(1, len(columns)))]
    sides = ["left" if word else "right" for word in words]
    return tabulate(rows, columns, tablefmt="pipe", colalign=sides, disable_numparse=True)


def _of_measurements(path, table):
    """A table whose rows are ids, with the cells of these measurements, and notes about them."""
    known, meanings = {}, {}
    for file in (path, *(path.parent / name for name in table.get("from", ()))):
        held = json.loads(_read(file)) if file.suffix == ".json" else yaml.safe_load(_read(file))
        meanings |= held.get("certainty", {})
        for kind in ("measured", "differences", "quantities", "published"):
            known |= {row["id"]: row for row in held.get(kind, ())}
    missing = [row for row in table["rows"] if row not in known]
    if missing:
        sys.exit(f"error: {path}: no measurement {', '.join(missing)}: expected it there or in a file of from")
    rows = [known[row] for row in table["rows"]]
    cells = [[_label(row), *(_cell(row, heading) for heading in table["columns"][1:])] for row in rows]
    partial = any(str(cell).endswith("*") for row in cells for cell in row)
    notes = [*table.get("notes", ())]
    if partial:
        notes.append("* measured on a part of the test set: not comparable with full-set numbers")
    if not table.get("remarks", True):  # a short table, whose own notes say where the rest stands
        return table | {"rows": cells, "notes": notes}
    for published in (False, True):
        notes += _owned([(_label(row), _remarks(row, meanings)) for row in rows if ("method" in row) == published])
    notes += _owned([(row["of"], [_source(row)]) for row in rows if "value" in row])
    return table | {"rows": cells, "notes": notes}


def _label(row):
    return row.get("label") or row.get("method") or row["what"]


def _cell(row, heading):
    try:
        if heading in row:
            return row[heading]
        return FIELDS[heading](row) if heading in FIELDS else _of_subset(row, heading)
    except (KeyError, TypeError):
        return None


def _of_subset(row, heading):
    """A measure of a subset of the faces; ``*`` if it is not the whole official one."""
    subset, _, word = heading.rpartition(" ")
    subset, (measure, digits) = (subset or "full", MEASURES[word]) if word in MEASURES else (heading, (None, 2))
    if "method" in row:  # published
        found = {"full": row.get("fr10")} if measure == "fr10" else row[measure or "nme_interocular"]
        return f"{found[subset]:.{digits}f}"
    values, protocol = row["subsets"][subset], row["protocol"]
    partial = values["complete"] is False and not protocol["synthetic"]
    return f"{values[measure or 'nme_' + protocol['normaliser']]:.{digits}f}" + "*" * partial


def _remarks(row, meanings):
    """The sentences that a reader must know to compare a row."""
    remarks = [*row.get("caveats", ()), *filter(None, [row.get("note")])]
    if "method" in row:
        kinds = " and ".join(kind for kind in ("interocular", "interpupil") if f"nme_{kind}" in row)
        certainty = f"{row['certainty']} ({meanings[row['certainty']]})"
        return [f"published {row['date']}, {certainty}: {row['source']}; {kinds}, crop {row['box']}", *remarks]
    return [*_protocol(row), *remarks] if "subsets" in row else remarks


def _source(row):
    where = row["machine"] + ("" if row["accelerator"] == "none" else f", {row['accelerator']}")
    return f"`{row['command']}`, {row['date']}, {where}"


def _protocol(row):
    protocol, missing = row["protocol"], row["protocol"]["missing"]
    faces = ", ".join(f"{found['n']} of {found['official_n']} {name}" for name, found in row["subsets"].items())
    return [
        f"{row['dataset']} {protocol['split']}{' SYNTHETIC' * protocol['synthetic']} ({faces} faces; content "
        f"{protocol['content']})",
        f"NME in percent by {protocol['normaliser']} distance, crop {protocol['box']}, FR and AUC at "
        f"{'/'.join(map(str, protocol['thresholds']))}, occluded points {protocol['occluded_points']}, "
        f"{missing['n'] or 'none'} missing",
        {True: "mirror test", False: "no mirror test", None: "mirror test not stated"}[protocol["flip_test"]],
    ]


def _owned(remarks):
    """Each sentence once, after the labels of its rows unless it holds for all; ``remarks``: (label, sentences)."""
    notes = []
    for sentence in dict.fromkeys(sentence for _, own in remarks for sentence in own):
        owners = dict.fromkeys(label for label, own in remarks if sentence in own)
        others = dict.fromkeys(label for label, own in remarks if sentence not in own and label not in owners)
        of = f"all but {'; '.join(others)}" if len(others) < len(owners) else "; ".join(owners)
        notes.append(f"{of}: {sentence}" if others else sentence)
    return notes


def _number(value):
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _read(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        sys.exit(f"error: {path}: cannot be read ({error.strerror})")


if __name__ == "__main__":
    raise SystemExit(main())
