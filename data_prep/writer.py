"""Writes faces into the prepared format (see `kdloss.prepared`): all of it, or nothing."""

import csv
import hashlib
from pathlib import Path

import numpy as np

from data_prep.chunks import CHUNK, chunk_starts, cut_chunk
from data_prep.faces_file import FacesFile
from data_prep.gathering import close_gaps, gaps_closed_before, gathered, write_arrays
from data_prep.processes import cut_in_processes
from data_prep.work_folder import WorkFolder
from kdloss.errors import DataError
from kdloss.face_table import BOX_COLUMNS, SUBSET_PREFIX
from kdloss.manifest import TEXT, content_hash, is_prepared, read_manifest, write_manifest

VALIDATION_SHARE = 0.10


def write_prepared(
    raw,
    spec,
    out,
    *,
    source,
    size=256,
    crop_scale=2.0,
    progress=iter,
    overwrite=False,
    key=None,
    reopen=None,
    processes=1,
):
    """Cuts every face out and writes the prepared folder ``out``, the same to the byte with any number of processes.

    Args:
        raw: a `RawDataset`.
        spec: its `DatasetSpec`.
        out: the folder to make; it grows in a `WorkFolder` beside itself and is renamed at the end.
        source: where the raw data came from, for the manifest.
        size: side of the stored crops, pixels.
        crop_scale: side of the crop over the longer side of the landmark box.
        progress: wraps an iterator over the faces that are done.
        overwrite: replaces an existing prepared folder.
        key: of the `WorkFolder`: a run of the same key goes on where one that was killed or interrupted has stopped.
        reopen: ``dataset``, ``source`` and ``options`` with which another process opens ``raw``, a dict for JSON.
        processes: how many cut faces; with more than one, ``reopen`` is needed.

    Returns:
        The manifest, a dict.

    Raises:
        DataError: ``out`` exists, or not one face could be read.
    """
    out = Path(out)
    work = WorkFolder(out, key)
    if out.exists() and not overwrite and not work.is_finished:
        raise DataError(f"{out}: exists already: give another --out, or --overwrite to replace it")
    if out.exists() and not is_prepared(out):
        raise DataError(f"{out}: exists and is no prepared folder, so it is not overwritten: give another --out")
    with work.held():
        if work.is_finished:
            return read_manifest(out)
        with FacesFile(work.folder / "faces.npy", size) as faces:
            faces.resize(raw.total)
            found = gaps_closed_before(faces, work.chunks, raw.total) if work.all_cut.exists() else None
            if found is None:
                if processes > 1:
                    job = {"total": raw.total, "faces": str(faces.path), "chunks": str(work.chunks)} | reopen
                    cut = _cut_elsewhere(job | {"size": size, "crop_scale": crop_scale}, raw.total, processes)
                else:
                    cut = _cut_here(raw.entries, work.chunks, faces, crop_scale)
                for _ in progress(cut):
                    pass
                found = gathered(work.chunks, raw.total)
                if not found.rows:
                    first = found.skipped[:1]
                    reason = f"; the first: {first[0]['name']}: {first[0]['reason']}" if first else ""
                    raise DataError(f"{source}: none of its {raw.total} faces could be read{reason}")
                work.all_cut.touch()
                close_gaps(faces, found)
            faces.resize(len(found.rows))
        _hold_out_validation(found.rows)
        write_arrays(work.folder, found)
        _write_table(work.folder / "table.csv", found.rows, spec)
        facts = {
            "dataset": spec.name,
            "scheme": raw.scheme.to_json(),
            "count": len(found.rows),
            "size": size,
            "crop_scale": crop_scale,
            "source": str(source),
            "synthetic": raw.synthetic,
            "counts": _counts(found.rows),
            "official": spec.counts,
            "skipped": found.skipped,
            "warnings": [*raw.warnings, *_outside_warning(found.outside, len(found.rows))],
            "content": content_hash(
                np.array(found.points), *([row[key] for row in found.rows] for key in ("name", "split")), found.digests
            ),
        }
        manifest = write_manifest(work.folder, facts)
        work.finish()
        return manifest


def _cut_here(entries, chunks, faces, crop_scale):
    for start in chunk_starts(len(entries)):
        yield from cut_chunk(entries, start, chunks, faces, crop_scale)


def _cut_elsewhere(job, total, processes):
    starts = chunk_starts(total)
    for start in cut_in_processes(job, starts, min(processes, len(starts))):
        yield from range(start, min(start + CHUNK, total))


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
