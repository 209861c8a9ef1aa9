"""Writes faces into the prepared format (see `kdloss.prepared`): all of it, or nothing."""

import csv
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.face import SkippedFace
from kdloss.errors import DataError
from kdloss.geometry import BoxPolicy, FaceCrop, invert, landmark_box
from kdloss.prepared import BOX_COLUMNS, SUBSET_PREFIX, VERSION

VALIDATION_SHARE = 0.10
# A point this many image sides away is no landmark, and a crop around it would hold no face.
_FAR = 5
# File names need not be valid UTF-8; bytes that are not are written as \\udcXX.
_TEXT = {"encoding": "utf-8", "errors": "backslashreplace"}


def write_prepared(raw, spec, out, *, source, size=256, crop_scale=2.0, progress=iter, overwrite=False):
    """Cuts every face out and writes the prepared folder ``out``.

    Args:
        raw: a `RawDataset`.
        spec: its `DatasetSpec`.
        out: the folder to make; written beside itself and renamed at the end.
        source: where the raw data came from, for the manifest.
        size: side of the stored crops, pixels.
        crop_scale: side of the crop over the longer side of the landmark box.
        progress: wraps the iterator of faces.
        overwrite: replaces an existing prepared folder.

    Returns:
        The manifest, a dict.

    Raises:
        DataError: ``out`` exists, or not one face could be read.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise DataError(f"{out}: exists already: give another --out, or --overwrite to replace it")
    if out.exists() and not (out / "manifest.json").exists():
        raise DataError(f"{out}: exists and is no prepared folder, so it is not overwritten: give another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        written = _write_faces(raw, work, size, crop_scale, progress)
        rows = written.rows
        if not rows:
            first = written.skipped[:1]
            reason = f"; the first: {first[0]['name']}: {first[0]['reason']}" if first else ""
            raise DataError(f"{source}: none of its {raw.total} faces could be read{reason}")
        _hold_out_validation(rows)
        np.save(work / "points.npy", np.asarray(written.points, np.float32))
        np.save(work / "to_image.npy", np.asarray(written.to_image, np.float64))
        if any(flags is not None for flags in written.occluded):
            none = np.zeros(raw.scheme.num_points, bool)
            np.save(work / "occluded.npy", np.stack([none if flags is None else flags for flags in written.occluded]))
        _write_table(work / "table.csv", rows, spec)
        manifest = {
            "version": VERSION,
            "dataset": spec.name,
            "scheme": raw.scheme.to_json(),
            "count": len(rows),
            "size": size,
            "crop_scale": crop_scale,
            "source": str(source),
            "synthetic": raw.synthetic,
            "counts": _counts(rows),
            "official": spec.counts,
            "skipped": written.skipped,
            "warnings": [*raw.warnings, *_outside_warning(written.outside, len(rows))],
            "content": _content_hash(written),
        }
        (work / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        os.chmod(work, 0o755)
        _move_into_place(work, out)
        return manifest
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass
class _Written:
    """What is known of the faces once their crops are on disk; one entry a face in each list but the last two."""

    rows: list = field(default_factory=list)
    points: list = field(default_factory=list)
    to_image: list = field(default_factory=list)
    occluded: list = field(default_factory=list)
    pixels: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    outside: list = field(default_factory=list)


def _write_faces(raw, work, size, crop_scale, progress):
    policy = BoxPolicy("gt", crop_scale)
    written, seen = _Written(), set()
    with open(work / "faces.npy", "wb") as file:
        _write_header(file, 0, size)
        for face in progress(raw.entries):
            if isinstance(face, SkippedFace):
                written.skipped.append({"name": face.name, "reason": face.reason})
                continue
            off_image = _off_image(face)
            reason = "a face of this name came before" if face.name in seen else _unusable(face, off_image)
            if reason:
                written.skipped.append({"name": face.name, "reason": reason})
                continue
            seen.add(face.name)
            if off_image.any():
                written.outside.append(face.name)
            crop = FaceCrop.from_box(policy.grow(landmark_box(face.points)), size)
            pixels = np.ascontiguousarray(crop.image(face.image)).tobytes()
            file.write(pixels)
            written.pixels.append(hashlib.sha256(pixels).digest())
            written.points.append(crop.points(face.points.astype(np.float64)))
            written.to_image.append(invert(crop.matrix))
            written.occluded.append(face.occluded)
            box = ["" if face.box is None else repr(float(value)) for value in (face.box or (0,) * 4)]
            written.rows.append(
                {"name": face.name, "split": face.split, "source": face.source, "group": face.group}
                | dict(zip(BOX_COLUMNS, box, strict=True))
                | {SUBSET_PREFIX + subset: "1" for subset in face.subsets}
            )
        file.seek(0)
        _write_header(file, len(written.rows), size)
    return written


def _off_image(face):
    """(N,) bool: which points lie outside the face's image."""
    height, width = face.image.shape[:2]
    return ((face.points < -0.5) | (face.points > (width - 0.5, height - 0.5))).any(axis=-1)


def _unusable(face, off_image):
    height, width = face.image.shape[:2]
    if off_image.all() or np.abs(face.points).max() > _FAR * max(height, width):
        where = "no point lies inside" if off_image.all() else "a point lies far outside"
        return f"{where} its image of {width} x {height} pixels"
    if landmark_box(face.points)[2:].max() < 1:
        return "its points lie within one pixel"
    return None


def _outside_warning(names, count):
    if not names:
        return ()
    return (
        f"{len(names)} of {count} faces have points outside their image, the first is {names[0]}: they are kept as "
        "given; if there are many, points may be counted from 0 where the format counts from 1, or belong to other "
        "images",
    )


def _move_into_place(work, out):
    """Renames ``work`` to ``out``; what was there is removed only after the new folder stands."""
    if not out.exists():
        os.replace(work, out)
        return
    old = work.with_name(f"{work.name}.old")
    os.replace(out, old)
    os.replace(work, out)
    shutil.rmtree(old)


def _write_header(file, count, size):
    # numpy leaves room in the header for the first axis to grow, so it can be rewritten when the count is known.
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _hold_out_validation(rows):
    """Moves a tenth of each source's training faces to ``val``: always the same ones, whole groups at a time."""
    by_source = {}
    for row in rows:
        if row["split"] == "train":
            by_source.setdefault(row["source"], {}).setdefault(row["group"], []).append(row)
    for source, groups in by_source.items():
        # Of a handful of faces one is held out all the same: without validation there is no training.
        wanted = max(1, round(VALIDATION_SHARE * sum(map(len, groups.values())))) if len(groups) > 1 else 0
        order = sorted(groups, key=lambda group: hashlib.sha256(f"{source}/{group}".encode(**_TEXT)).digest())
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
    with open(path, "w", newline="", **_TEXT) as file:
        writer = csv.DictWriter(file, columns, restval="0")
        writer.writeheader()
        writer.writerows(rows)


def _content_hash(written):
    digest = hashlib.sha256(np.asarray(written.points, np.float32).tobytes())
    for row, pixels in zip(written.rows, written.pixels, strict=True):
        digest.update(f"{row['name']}\0{row['split']}\n".encode(**_TEXT) + pixels)
    return digest.hexdigest()[:16]
