"""From a raw data set to a prepared folder, and what is said about it on the way."""

import dataclasses
import importlib
import sys
import time
from pathlib import Path

from asm.cores import usable_cores
from data_prep.face import SYNTHETIC_MARK
from data_prep.writer import write_prepared
from kdloss.datasets import dataset_spec
from kdloss.errors import DataError

# Imported when asked for: h5py takes longer to load than a small data set takes to prepare.
READERS = {
    "300w": ("data_prep.w300", "read_300w"),
    "cofw": ("data_prep.cofw", "read_cofw"),
    "wflw": ("data_prep.wflw", "read_wflw"),
    "folder": ("data_prep.folder", "read_folder"),
}
_LISTED = 5
# To start a process takes as long as to cut some hundred faces.
_FACES_A_PROCESS = 256


def open_raw(dataset, source, **options):
    """Opens a raw data set with its reader.

    Args:
        dataset: ``300w``, ``cofw``, ``wflw`` or ``folder``.
        source: its folder. A file SYNTHETIC.json in it marks rendered faces.
        options: of the reader; ``json`` (a COCO-style file) for ``folder``.

    Returns:
        A `RawDataset`.

    Raises:
        DataError: no such folder (the message says where to get the data), or not of the official layout.
    """
    spec, source = dataset_spec(dataset), Path(source)
    if not source.is_dir():
        raise DataError(f"{source}: {'not a' if source.exists() else 'no such'} folder: {_how_to_get(spec)}")
    if dataset not in READERS:
        raise DataError(f"--dataset {dataset}: nothing reads {spec.title} yet: add a reader to {__name__}.READERS")
    module, name = READERS[dataset]
    raw = getattr(importlib.import_module(module), name)(source, **options)
    return dataclasses.replace(raw, synthetic=(source / SYNTHETIC_MARK).is_file())


def prepare(
    dataset, source, out, *, size=256, crop_scale=2.0, overwrite=False, processes=None, progress=None, **options
):
    """Prepares a raw data set and prints what was found, beside the official counts.

    With several processes, a script that calls this needs ``if __name__ == "__main__":`` around what it does, as with
    `multiprocessing`.

    Args:
        dataset, source, options: see `open_raw`.
        out: the folder to make.
        size: side of the stored crops, pixels.
        crop_scale: side of a stored crop over the longer side of the landmark box; leaves room for rotation.
        overwrite: replaces an existing prepared folder.
        processes: how many cut faces; as many as there are cores by default, if there is work for them.
        progress: called with an iterator and its length, returns an iterator; `print_progress` by default.

    Returns:
        The manifest, a dict.

    Raises:
        DataError: see `open_raw` and `write_prepared`.
    """
    show = progress or print_progress
    try:
        raw = open_raw(dataset, source, **options)
        manifest = write_prepared(
            raw,
            dataset_spec(dataset),
            out,
            source=source,
            size=size,
            crop_scale=crop_scale,
            overwrite=overwrite,
            progress=lambda done: show(done, raw.total),
            processes=processes or max(1, min(usable_cores(), raw.total // _FACES_A_PROCESS)),
        )
    except OSError as error:  # no permission, no space left
        raise DataError(f"{error.filename or out}: {error.strerror or error}") from error
    print("\n".join(count_report(manifest)))
    print(f"wrote {manifest['count']} faces to {out}")
    return manifest


def count_report(manifest):
    """Lines that say how many faces were found, against the official numbers, what was skipped, and warnings."""
    kind = "synthetic, " if manifest["synthetic"] else ""
    scheme = manifest["scheme"]
    lines = [f"{manifest['dataset']} ({kind}{len(scheme['names'])} points): {manifest['count']} faces"]
    for split in ("train", "test"):
        counts, official = manifest["counts"].get(split, {}), manifest["official"].get(split, {})
        for source in [*official, *sorted(counts.keys() - official.keys())]:
            found, expected = counts.get(source, 0), official.get(source)
            lines.append(f"  {split:5} {source}: {found}" + _against(found, expected))
        total = sum(counts.values())
        lines.append(f"  {split:5} together: {total}" + _against(total, sum(official.values()) or None))
    skipped = manifest["skipped"]
    if skipped:
        rest = f", the first {_LISTED} are shown, all are in manifest.json" if len(skipped) > _LISTED else ""
        lines.append(f"skipped {len(skipped)} faces{rest}:")
        lines += [f"  {face['name']}: {face['reason']}" for face in skipped[:_LISTED]]
    return lines + [f"warning: {warning}" for warning in manifest["warnings"]]


def print_progress(entries, total, stream=None):
    """Passes ``entries`` on, and writes a line to ``stream`` (standard error) at every tenth of ``total``."""
    stream, start, shown = stream or sys.stderr, time.monotonic(), 0
    for done, entry in enumerate(entries, start=1):
        yield entry
        tenth = 10 * done // max(total, 1)
        if tenth > shown:
            shown = tenth
            rate = done / max(time.monotonic() - start, 1e-6)
            print(f"{10 * tenth:3d} %  {done}/{total} faces  {rate:.0f}/s", file=stream, flush=True)


def _against(found, official):
    if official is None:
        return ""
    difference = "" if found == official else f", {found - official:+d}"
    return f" of {official} official{difference}"


def _how_to_get(spec):
    get = f"get {spec.title} at {spec.where} ({spec.licence})" if spec.where else "give --source a folder of faces"
    layout = spec.name if spec.where else "300w"
    make = f"python -m data_prep synthetic --layout {layout} --count 200 --seed 0 --out RAW"
    return f"{get}, or render some faces: {make}"
