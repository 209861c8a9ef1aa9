"""Cuts the faces of a raw data set, a chunk at a time: pixels straight to their place, all else to a file a chunk.

A chunk is done when its file is there and the pixels are those of its digests. Done chunks are not cut again, whoever
cut them, so that a prepare that was killed goes on, in any number of processes.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asm.atomic import replacing
from data_prep.face import SkippedFace
from kdloss.face_table import BOX_COLUMNS, SUBSET_PREFIX
from kdloss.geometry import BoxPolicy, FaceCrop, invert, landmark_box

CHUNK = 64
# A point this many image sides away is no landmark, and a crop around it would hold no face.
_FAR = 5


@dataclass(frozen=True)
class Cut:
    """A face that was cut; its pixels are in the file.

    Args:
        row: of the table, a dict of texts.
        outside: whether it has points outside its image.
        points: (N, 2) float32 pixels of the crop.
        to_image: (2, 3) float64.
        digest: (32,) uint8, SHA-256 of the pixels.
        occluded: (N,) bool or None.
    """

    row: dict
    outside: bool
    points: np.ndarray
    to_image: np.ndarray
    digest: np.ndarray
    occluded: np.ndarray | None
    read = True

    @property
    def name(self):
        return self.row["name"]


@dataclass(frozen=True)
class Uncut:
    """A face that was not cut; ``read`` tells whether its files could be read at least."""

    name: str
    reason: str
    read: bool


def chunk_starts(total):
    """Where the chunks of ``total`` faces begin."""
    return range(0, total, CHUNK)


def cut_chunk(entries, start, folder, faces, crop_scale):
    """Cuts a chunk, unless it is done already. Yields once a face, when that is done.

    Args:
        entries: of a `RawDataset`.
        start: number of the chunk's first face.
        folder: of the files of chunks.
        faces: a `FacesFile`.
        crop_scale: side of a crop over the longer side of the landmark box.

    Raises:
        UserError: the disk is full.
    """
    numbers = range(start, min(start + CHUNK, len(entries)))
    if _is_done(start, folder, faces):
        yield from numbers
        return
    found = []
    for number in numbers:
        found.append(_cut_face(entries[number], number, faces, crop_scale))
        yield number
    _write_chunk(_path(folder, start), found)


def read_chunk(folder, start):
    """What is known of the faces of a chunk that is done: a list of `Cut` and `Uncut`.

    Raises:
        OSError, ValueError: it is not there, or damaged.
    """
    try:
        with open(_path(folder, start), "rb") as file, np.load(file, allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            arrays = zip(*(stored[name] for name in ("points", "to_image", "digests", "occluded")), strict=True)
            # The arrays hold the faces that were cut, and only them.
            return [Uncut(**fact) if "reason" in fact else _cut_of(fact, *next(arrays)) for fact in facts]
    except (KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{_path(folder, start)}: damaged ({error})") from error


def _cut_of(fact, points, to_image, digest, occluded):
    return Cut(fact["row"], fact["outside"], points, to_image, digest, occluded if fact["flags"] else None)


def _path(folder, start):
    return Path(folder) / f"{start:09d}.npz"


def _is_done(start, folder, faces):
    try:
        found = read_chunk(folder, start)
    except (OSError, ValueError):
        return False
    return all(
        isinstance(face, Uncut) or hashlib.sha256(faces.get(number)).digest() == face.digest.tobytes()
        for number, face in enumerate(found, start)
    )


def _cut_face(face, number, faces, crop_scale):
    if isinstance(face, SkippedFace):
        return Uncut(face.name, face.reason, read=False)
    off_image = _off_image(face)
    if reason := _unusable(face, off_image):
        return Uncut(face.name, reason, read=True)
    crop = FaceCrop.from_box(BoxPolicy("gt", crop_scale).grow(landmark_box(face.points)), faces.size)
    pixels = np.ascontiguousarray(crop.image(face.image))
    faces.put(number, pixels.data.cast("B"))
    box = ["" if face.box is None else repr(float(value)) for value in (face.box or (0,) * 4)]
    row = (
        {"name": face.name, "split": face.split, "source": face.source, "group": face.group}
        | dict(zip(BOX_COLUMNS, box, strict=True))
        | {SUBSET_PREFIX + subset: "1" for subset in face.subsets}
    )
    return Cut(
        row,
        bool(off_image.any()),
        crop.points(face.points.astype(np.float64)).astype(np.float32),
        invert(crop.matrix),
        np.frombuffer(hashlib.sha256(pixels).digest(), np.uint8),
        face.occluded,
    )


def _write_chunk(path, found):
    cut = [face for face in found if isinstance(face, Cut)]
    facts = [
        vars(face)
        if isinstance(face, Uncut)
        else {"row": face.row, "outside": face.outside, "flags": face.occluded is not None}
        for face in found
    ]
    with replacing(path) as work:
        np.savez(
            work,
            facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
            points=np.array([face.points for face in cut], np.float32),
            to_image=np.array([face.to_image for face in cut], np.float64),
            digests=np.array([face.digest for face in cut], np.uint8),
            occluded=np.array(
                [np.zeros(len(face.points), bool) if face.occluded is None else face.occluded for face in cut], bool
            ),
            allow_pickle=False,
        )


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
