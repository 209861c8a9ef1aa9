"""Makes a prepared folder from a raw data set, and reports what it found."""

import collections
import contextlib
import csv
import dataclasses
import importlib
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from data_prep.crops import FaceCutter, cut_faces
from data_prep.raw import SYNTHETIC_MARK, SkippedFace, held_out
from data_prep.unlabelled import read_unlabelled
from kdloss.data.datasets import dataset_spec
from kdloss.data.prepared import (
    BOX_COLUMNS,
    IMAGE_COLUMN,
    NAME,
    SUBSET_PREFIX,
    UNLABELLED,
    content_hash,
    is_prepared,
    write_manifest,
)
from kdloss.errors import DataError
from kdloss.files import new_folder
from kdloss.machine import usable_cores
from kdloss.names import TEXT, printable, to_cell

# Imported on demand: h5py takes longer to load than a small data set takes to prepare.
READERS = {
    "300w": ("data_prep.w300", "read_300w"),
    "cofw": ("data_prep.cofw", "read_cofw"),
    "wflw": ("data_prep.wflw", "read_wflw"),
    "folder": ("data_prep.folder", "read_folder"),
}
TEST_SHARE, VALIDATION_SHARE = 0.20, 0.10
_SPLITS = ("", "train", UNLABELLED, "val", "test")  # of a picture in two of them, the later keeps it
_LISTED = 5
_ARRAYS = ("faces", "points", "to_image", "digests", "occluded")
_FILES = {NAME, "table.csv", *(f"{name}.npy" for name in _ARRAYS)}
# Starting a process takes as long as cutting some hundred faces.
_FACES_A_PROCESS = 256


def open_raw(dataset, source, boxes=None, **reading):
    """Opens a raw data set with its reader.

    Args:
        dataset: one of `READERS`.
        source: its folder. A file SYNTHETIC.json in it marks rendered faces.
        reading: options of `data_prep.folder.read_folder`, for ``folder`` only.
        boxes: of faces without landmarks, for ``folder`` only, see `data_prep.unlabelled.read_unlabelled`; None: the
            faces have landmarks.

    Raises:
        DataError: no such folder (the message says where to get the data), or not of the official layout.
    """
    spec, source = dataset_spec(dataset), Path(source)
    if not source.is_dir():
        raise DataError(f"{source}: {'not a' if source.exists() else 'no such'} folder: {_how_to_get(spec)}")
    if dataset not in READERS:
        raise DataError(f"--dataset {dataset}: nothing reads {spec.title} yet: add a reader to {__name__}.READERS")
    if boxes is None:
        module, name = READERS[dataset]
        raw = getattr(importlib.import_module(module), name)(source, **reading)
    else:
        raw = read_unlabelled(source, boxes, print_progress)
    return dataclasses.replace(raw, synthetic=(source / SYNTHETIC_MARK).is_file())


def prepare(dataset, source, out, *, boxes=None, reading=None, processes=None, **options):
    """Prepares a raw data set and prints the numbers of faces found, beside the official ones.

    With several processes, a script that calls this needs ``if __name__ == "__main__":`` as with `multiprocessing`.

    Args:
        dataset, source, boxes, reading: see `open_raw`.
        out, options: see `write_prepared`; options are ``size``, ``crop_scale`` and ``overwrite``.
        processes: number of processes that cut faces; by default one a core, if there is work for them.

    Returns:
        The manifest, a dict.
    """
    _require_free(Path(out), options.get("overwrite"))
    _require_apart(Path(source).resolve(), Path(out).resolve())
    try:
        raw = open_raw(dataset, source, boxes, **(reading or {}))
        processes = processes or max(1, min(usable_cores(), len(raw.entries) // _FACES_A_PROCESS))
        options |= {"source": source, "progress": print_progress, "processes": processes}
        manifest = write_prepared(raw, dataset_spec(dataset), out, **options)
    except OSError as error:  # no permission, no space left
        raise DataError(f"{error.filename or out}: {error.strerror or error}") from error
    print("\n".join(count_report(manifest)))
    print(f"wrote {manifest['count']} faces to {out}")
    return manifest


def write_prepared(raw, spec, out, *, source, size=256, crop_scale=2.0, progress=None, overwrite=False, processes=1):
    """Cuts every face and writes the prepared folder ``out``, with the same bytes for any number of processes.

    Args:
        raw: a `RawDataset`.
        spec: its `DatasetSpec`.
        out: the folder to make. It is written beside its place under another name and renamed at the end.
        source: origin of the raw data, for the manifest.
        size: side of the stored crops, pixels.
        crop_scale: side of the crop over the longer side of the landmark box; leaves room for rotation.
        progress: passes the finished faces on and shows how many of how many there are, as `print_progress` does.
        overwrite: replaces an existing prepared folder.

    Returns:
        The manifest, a dict.

    Raises:
        UserError: ``out`` exists or cannot be written, or no face could be read.
    """
    with _folder_for(Path(out), overwrite) as folder:
        crops, skipped = _write_faces(raw, spec, folder / "faces.npy", size, crop_scale, progress, processes)
        if not crops:
            reason = f"; the first: {skipped[0]['name']}: {skipped[0]['reason']}" if skipped else ""
            raise DataError(f"{source}: none of its {len(raw.entries)} faces could be read{reason}")
        rows, warnings = [crop.row for crop in crops], list(raw.warnings)
        if outside := [crop.name for crop in crops if crop.outside]:
            warnings.append(
                f"{len(outside)} of {len(rows)} faces have points outside their image, the first is {outside[0]}: they "
                "are kept as given; if there are many, points may be counted from 0 where the format counts from 1, or "
                "belong to other images"
            )
        if unknown := sum(int(np.isnan(crop.points[:, 0]).sum()) for crop in crops):
            total = sum(len(crop.points) for crop in crops)
            warnings.append(f"{unknown} of {total} points are not labelled: losses and errors leave them out")
        warnings += _draw_splits(rows)
        arrays = {
            "points": np.array([crop.points for crop in crops], np.float32),
            "to_image": np.array([crop.to_image for crop in crops], np.float64),
            "digests": np.array([crop.digest for crop in crops], np.uint8),
        }
        if any(crop.occluded is not None for crop in crops):
            none = np.zeros(raw.scheme.num_points, bool)
            arrays["occluded"] = np.array([none if crop.occluded is None else crop.occluded for crop in crops])
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        _write_table(folder / "table.csv", rows, spec)
        names, splits = ([row[key] for row in rows] for key in ("name", "split"))
        counts = {}
        for row in rows:
            split = row["split"]
            counts.setdefault("train" if split == "val" else split, collections.Counter())[row["source"]] += 1
        facts = {
            "dataset": spec.name,
            "scheme": raw.scheme.to_json(),
            "count": len(rows),
            "size": size,
            "crop_scale": crop_scale,
            "source": str(source),
            "synthetic": raw.synthetic,
            "unlabelled": not raw.scheme.num_points,
            "read_as": raw.read_as,
            "splits": collections.Counter(splits),
            "counts": counts,
            "official": spec.counts,
            "skipped": skipped,
            "warnings": warnings,
            "content": content_hash(arrays["points"], names, splits, arrays["digests"]),
        }
        return write_manifest(folder, facts)


def count_report(manifest):
    """Lines with the numbers of faces beside the official ones, the skipped faces, and the warnings."""
    kind = "synthetic, " if manifest["synthetic"] else ""
    splits, num_points = [UNLABELLED] if manifest["unlabelled"] else ["train", "test"], len(manifest["scheme"]["names"])
    lines = [f"{manifest['dataset']} ({kind}{num_points or 'no'} points): {manifest['count']} faces"]
    if manifest.get("read_as"):
        counts = ", ".join(f"{split} {manifest['splits'].get(split, 0)}" for split in ("train", "val", "test"))
        lines[0] += f" ({counts}) from {manifest['read_as']}"
    for split in splits:
        counts = manifest["counts"].get(split, {})
        official = {} if manifest["synthetic"] else manifest["official"].get(split, {})
        for source in [*official, *sorted(counts.keys() - official.keys())]:
            found = counts.get(source, 0)
            lines.append(f"  {split:5} {printable(source)}: {found}" + _against(found, official.get(source)))
        total = sum(counts.values())
        lines.append(f"  {split:5} together: {total}" + _against(total, sum(official.values()) or None))
    skipped = manifest["skipped"]
    if skipped:
        rest = f", the first {_LISTED} are shown, all are in manifest.json" if len(skipped) > _LISTED else ""
        lines.append(f"skipped {len(skipped)} faces{rest}:")
        lines += ["  " + printable(f"{face['name']}: {face['reason']}") for face in skipped[:_LISTED]]
    return lines + [printable(f"warning: {warning}") for warning in manifest["warnings"]]


def print_progress(entries, total, what="faces"):
    """Yields ``entries`` and writes a line to standard error at every tenth of ``total``."""
    start, shown = time.monotonic(), 0
    for done, entry in enumerate(entries, start=1):
        yield entry
        tenth = 10 * done // max(total, 1)
        if tenth > shown:
            shown = tenth
            rate = done / max(time.monotonic() - start, 1e-6)
            print(f"{10 * tenth:3d} %  {done}/{total} {what}  {rate:.0f}/s", file=sys.stderr, flush=True)


def _how_to_get(spec):
    get = f"get {spec.title} at {spec.where} ({spec.licence})" if spec.where else "give --source a folder of faces"
    layout = spec.name if spec.where else "300w"
    make = f"python -m data_prep synthetic --layout {layout} --count 200 --seed 0 --out RAW"
    return f"{get}, or render some faces: {make}"


def _against(found, official):
    if official is None:
        return ""
    difference = "" if found == official else f", {found - official:+d}"
    return f" of {official} official{difference}"


@contextlib.contextmanager
def _folder_for(out, overwrite):
    """Yields a folder that replaces ``out`` if the block ends well; only then the old one is removed."""
    before = out.parent / f".{out.name}.replaced"
    _settle(before, out)
    _require_free(out, overwrite)
    try:
        with new_folder(out) as folder:
            yield folder
            if out.exists():
                os.replace(out, before)
    finally:
        _settle(before, out)


def _require_free(out, overwrite):
    if out.exists() and not overwrite:
        raise DataError(f"{out}: exists already: give another --out, or --overwrite to replace it")
    if out.exists() and not is_prepared(out):
        raise DataError(f"{out}: exists and is not a prepared folder, so it is not overwritten: give another --out")
    if out.exists() and (others := sorted({path.name for path in out.iterdir()} - _FILES)):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise DataError(f"{out}: holds {others[0]}{more} besides a prepared set: give another --out, or move it away")


def _require_apart(source, out):
    if source == out or out in source.parents or source in out.parents:
        raise DataError(f"{out}: lies in {source}, or holds it: give another --out, beside the raw data")


def _settle(before, out):
    """Puts the replaced folder back if ``out`` is missing; removes it otherwise."""
    if before.exists() and not out.exists():
        os.replace(before, out)
    shutil.rmtree(before, ignore_errors=True)


def _write_faces(raw, spec, path, size, crop_scale, progress, processes):
    """Writes ``faces.npy``; returns a `Crop` for each of its faces, and name and reason of each skipped one."""
    with open(path, "wb") as file:
        start = _write_header(file, len(raw.entries), size)
    crops, skipped = {}, []
    with cut_faces(FaceCutter(raw.entries, path, start, size, crop_scale), processes) as faces:
        for number, face in enumerate(progress(faces, len(raw.entries)) if progress else faces):
            if face.name in crops and face.read:
                skipped.append({"name": face.name, "reason": "a face of this name came before"})
            elif isinstance(face, SkippedFace):
                skipped.append({"name": face.name, "reason": face.reason})
            else:
                crops[face.name] = number, face
    for name, reason in [] if spec.counts else [*_across_splits([face for _, face in crops.values()])]:
        del crops[name]
        skipped.append({"name": name, "reason": reason})
    face_bytes = 3 * size * size
    with open(path, "r+b") as file:
        # Faces move up into the places of skipped ones.
        for place, (number, _) in enumerate(crops.values()):
            if place != number:
                file.seek(start + number * face_bytes)
                pixels = file.read(face_bytes)
                file.seek(start + place * face_bytes)
                file.write(pixels)
        file.truncate(start + len(crops) * face_bytes)
        file.seek(0)
        _write_header(file, len(crops), size)
    return [face for _, face in crops.values()], skipped


def _write_header(file, count, size):
    """Writes the header for ``count`` faces; returns its length, the same for any count, because numpy pads it."""
    shape = (count, size, size, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def _across_splits(crops):
    """Yields names of faces, with the reason, whose picture is also in a split that theirs must not share."""
    splits = {}
    for crop in sorted(crops, key=lambda crop: _SPLITS.index(crop.row["split"])):
        splits[crop.row[IMAGE_COLUMN]] = crop
    for crop in crops:
        other = splits[crop.row[IMAGE_COLUMN]]
        if other.row["split"] != crop.row["split"]:
            yield crop.name, f"its picture is that of {other.name}, which is for {other.row['split']}"


def _draw_splits(rows):
    """Draws a fifth of the faces without a split for testing, and a tenth of each source's training faces for ``val``.

    Whole groups, always the same ones; none for validation if some are given. Returns warnings.
    """
    _join_copies(rows)
    warnings, given = [], any(row["split"] == "val" for row in rows)
    if drawn := [row for row in rows if not row["split"]]:
        keys = [row["group"].encode(**TEXT) for row in drawn]
        held = held_out(keys, round(TEST_SHARE * len(keys)))
        for row, key in zip(drawn, keys, strict=True):
            row["split"] = "test" if key in held else "train"
        count = sum(row["split"] == "test" for row in drawn)
        warnings = [f"no test folder: {count} of {len(drawn)} faces are kept for testing, always the same ones"]
    validated = set()
    for source in {} if given else {row["source"]: None for row in rows}:
        trained = [row for row in rows if row["source"] == source and row["split"] == "train"]
        groups = [f"{source}/{row['group']}".encode(**TEXT) for row in trained]
        # Even of a handful of faces one is held out: there is no training without validation.
        held = held_out(groups, max(1, round(VALIDATION_SHARE * len(groups))) if len(set(groups)) > 1 else 0)
        validated |= {row["group"] for row, group in zip(trained, groups, strict=True) if group in held}
    for row in rows:
        if row["split"] == "train" and row["group"] in validated:  # whatever its source
            row["split"] = "val"
    return warnings


def _join_copies(rows):
    """Gives faces of the same picture one group, the least of theirs, whatever their files are called."""
    first = {}

    def find(key):
        while first.setdefault(key, key) != key:
            key = first[key]
        return key

    for row in rows:
        group, picture = find(("group", row["group"])), find(("picture", row[IMAGE_COLUMN]))
        first[max(group, picture)] = min(group, picture)
    for row in rows:
        row["group"] = find(("group", row["group"]))[1]


def _write_table(path, rows, spec):
    columns = ["name", "split", "source", "group", *BOX_COLUMNS, IMAGE_COLUMN]
    columns += sorted({key for row in rows for key in row} - set(columns) | {SUBSET_PREFIX + s for s in spec.subsets})
    with open(path, "w", newline="", **TEXT) as file:
        writer = csv.DictWriter(file, columns, restval="0")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {key: to_cell(row[key]) for key in ("name", "source", "group")})
