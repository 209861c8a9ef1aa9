"""Writes faces into the prepared format (see `kdloss.prepared`): all of it, or nothing."""

import contextlib
import csv
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from asm.atomic import new_folder
from data_prep.crops import FaceCutter, cut_faces
from data_prep.face import SkippedFace
from kdloss.errors import DataError
from kdloss.manifest import TEXT, content_hash, is_prepared, write_manifest
from kdloss.prepared import BOX_COLUMNS, SUBSET_PREFIX

VALIDATION_SHARE = 0.10


def write_prepared(raw, spec, out, *, source, size=256, crop_scale=2.0, progress=iter, overwrite=False, processes=1):
    """Cuts every face out and writes the prepared folder ``out``, the same to the byte with any number of processes.

    Args:
        raw: a `RawDataset`.
        spec: its `DatasetSpec`.
        out: the folder to make; it grows beside itself under another name and is renamed at the end.
        source: where the raw data came from, for the manifest.
        size: side of the stored crops, pixels.
        crop_scale: side of the crop over the longer side of the landmark box.
        progress: wraps an iterator over the faces that are done.
        overwrite: replaces an existing prepared folder.
        processes: how many cut faces.

    Returns:
        The manifest, a dict.

    Raises:
        UserError: ``out`` exists, cannot be written, or not one face could be read.
    """
    with _folder_for(Path(out), overwrite) as folder:
        crops, skipped = _cut_all(raw, folder / "faces.npy", size, crop_scale, progress, processes)
        if not crops:
            reason = f"; the first: {skipped[0]['name']}: {skipped[0]['reason']}" if skipped else ""
            raise DataError(f"{source}: none of its {raw.total} faces could be read{reason}")
        rows, outside = [crop.row for crop in crops], [crop.name for crop in crops if crop.outside]
        _hold_out_validation(rows)
        arrays = _arrays(crops)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        _write_table(folder / "table.csv", rows, spec)
        names, splits = ([row[key] for row in rows] for key in ("name", "split"))
        facts = {
            "dataset": spec.name,
            "scheme": raw.scheme.to_json(),
            "count": len(rows),
            "size": size,
            "crop_scale": crop_scale,
            "source": str(source),
            "synthetic": raw.synthetic,
            "counts": _counts(rows),
            "official": spec.counts,
            "skipped": skipped,
            "warnings": [*raw.warnings, *_outside_warning(outside, len(rows))],
            "content": content_hash(arrays["points"], names, splits, arrays["digests"]),
        }
        return write_manifest(folder, facts)


@contextlib.contextmanager
def _folder_for(out, overwrite):
    """Yields a folder that becomes ``out`` when the block ends well; what is there is removed only after that."""
    before = out.parent / f".{out.name}.replaced"
    _settle(before, out)
    if out.exists() and not overwrite:
        raise DataError(f"{out}: exists already: give another --out, or --overwrite to replace it")
    if out.exists() and not is_prepared(out):
        raise DataError(f"{out}: exists and is no prepared folder, so it is not overwritten: give another --out")
    try:
        with new_folder(out) as folder:
            yield folder
            if out.exists():
                os.replace(out, before)
    finally:
        _settle(before, out)


def _settle(before, out):
    """Removes the set that was there before, or puts it back if no other has taken its place."""
    if before.exists() and not out.exists():
        os.replace(before, out)
    shutil.rmtree(before, ignore_errors=True)


def _cut_all(raw, path, size, crop_scale, progress, processes):
    """Writes ``faces.npy``; returns a `Crop` for each of its faces, and name and reason of those that were skipped.

    Of faces of one name the first is taken.
    """
    with open(path, "wb") as file:
        start = _write_header(file, raw.total, size)
    crops, numbers, skipped, seen = [], [], [], set()
    with cut_faces(FaceCutter(raw.entries, path, start, size, crop_scale), processes) as cut:
        for number, face in enumerate(progress(cut)):
            if face.name in seen and face.read:
                skipped.append({"name": face.name, "reason": "a face of this name came before"})
            elif isinstance(face, SkippedFace):
                skipped.append({"name": face.name, "reason": face.reason})
            else:
                seen.add(face.name)
                crops.append(face)
                numbers.append(number)
    face_bytes = 3 * size * size
    with open(path, "r+b") as file:
        for place, number in enumerate(numbers):
            if place != number:
                file.seek(start + number * face_bytes)
                pixels = file.read(face_bytes)
                file.seek(start + place * face_bytes)
                file.write(pixels)
        file.truncate(start + len(numbers) * face_bytes)
        file.seek(0)
        _write_header(file, len(numbers), size)
    return crops, skipped


def _write_header(file, count, size):
    """Writes the header of ``count`` faces; returns its length, the same for all counts: numpy leaves room."""
    shape = (count, size, size, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def _arrays(crops):
    """The arrays of a prepared folder by name, but for the faces themselves."""
    arrays = {
        "points": np.array([crop.points for crop in crops], np.float32),
        "to_image": np.array([crop.to_image for crop in crops], np.float64),
        "digests": np.array([crop.digest for crop in crops], np.uint8),
    }
    if any(crop.occluded is not None for crop in crops):
        none = np.zeros(len(crops[0].points), bool)
        arrays["occluded"] = np.stack([none if crop.occluded is None else crop.occluded for crop in crops])
    return arrays


def _outside_warning(names, count):
    if not names:
        return ()
    return (
        f"{len(names)} of {count} faces have points outside their image, the first is {names[0]}: they are kept as "
        "given; if there are many, points may be counted from 0 where the format counts from 1, or belong to other "
        "images",
    )


def _hold_out_validation(rows):
    """Moves a tenth of each source's training faces to ``val``: always the same ones, whole groups at a time."""
    by_source = {}
    for row in rows:
        if row["split"] == "train":
            by_source.setdefault(row["source"], {}).setdefault(row["group"], []).append(row)
    for source, groups in by_source.items():
        # Of a handful of faces one is held out all the same: without validation there is no training.
        wanted = max(1, round(VALIDATION_SHARE * sum(map(len, groups.values())))) if len(groups) > 1 else 0
        order = sorted(groups, key=lambda group: hashlib.sha256(f"{source}/{group}".encode(**TEXT)).digest())
        held = 0
        for group in order:
            if held + len(groups[group]) <= wanted:
                held += len(groups[group])
                for row in groups[group]:
                    row["split"] = "val"


def _counts(rows):
    counts = {}
    for row in rows:
        split = counts.setdefault("test" if row["split"] == "test" else "train", {})
        split[row["source"]] = split.get(row["source"], 0) + 1
    return counts


def _write_table(path, rows, spec):
    columns = ["name", "split", "source", "group", *BOX_COLUMNS]
    columns += sorted({key for row in rows for key in row} - set(columns) | {SUBSET_PREFIX + s for s in spec.subsets})
    with open(path, "w", newline="", **TEXT) as file:
        writer = csv.DictWriter(file, columns, restval="0")
        writer.writeheader()
        writer.writerows(rows)
