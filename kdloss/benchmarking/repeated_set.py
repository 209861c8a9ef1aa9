"""Prepared sets of many times the faces, for as long as somebody measures with them."""

import contextlib
import csv
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from kdloss.errors import DataError
from kdloss.manifest import content_hash, write_manifest


@contextlib.contextmanager
def repeated_set(prepared, times, work):
    """The folder of a prepared set of ``times`` as many faces, which is there inside the ``with`` block alone.

    Args:
        prepared: a `PreparedDataset`.
        times: how often each face stands in the new set.
        work: the folder for it.

    Raises:
        DataError: the disk is too small.
    """
    size = times * len(prepared) * prepared.size**2 * 3
    free = shutil.disk_usage(work).free
    if free < size * 1.1:
        raise DataError(f"{work}: {free / 1e9:.1f} GB free, expected {size * 1.1 / 1e9:.1f}: give another --work")
    with tempfile.TemporaryDirectory(prefix="repeated-set-", dir=work) as folder:
        made = Path(folder) / prepared.dataset
        repeat_set(prepared, times, made)
        yield made


def repeat_set(prepared, times, folder):
    """Writes a prepared set of ``times`` as many faces. Names get a suffix; test faces become training faces.

    Args:
        prepared: a `PreparedDataset`.
        times: how often each face stands in the new set.
        folder: to make.
    """
    folder.mkdir()
    count = times * len(prepared)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *prepared.faces.shape[1:])}
    with open(folder / "faces.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(times):
            for pixels in prepared.faces:
                file.write(pixels.data)
        file.flush()
        os.fsync(file.fileno())
    digests = np.load(prepared.path / "digests.npy", allow_pickle=False)
    for name, array in (("points", prepared.points), ("to_image", prepared.to_image), ("digests", digests)):
        np.save(folder / f"{name}.npy", np.tile(array, (times, *[1] * (array.ndim - 1))), allow_pickle=False)
    names, splits = _repeat_table(prepared.path / "table.csv", times, folder / "table.csv")
    content = content_hash(np.tile(prepared.points, (times, 1, 1)), names, splits, np.tile(digests, (times, 1)))
    facts = {key: value for key, value in prepared.manifest.items() if key not in ("files", "manifest")}
    write_manifest(folder, facts | {"count": count, "content": content})


def _repeat_table(path, times, made):
    """Writes the table of a repeated set; returns its names and splits."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    repeated = [
        row | {"name": f"{row['name']} {number}", "split": "val" if row["split"] == "val" else "train"}
        for number in range(times)
        for row in rows
    ]
    with open(made, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(repeated)
    return [row["name"] for row in repeated], [row["split"] for row in repeated]
